// An endpoint for caching hosts: memory of `PLACES lines that hosts may cache, an exact directory, snoops at random
// besides those that are needed; no records but those of held requests. `fault` breaks a rule: 1 BI-ConflictAck encoded
// 3, 2 data of the version before, 3 ownership granted while another host has the line, 4 an Ack that overtakes nothing
// but comes twice, 5 a request granted while its line is snooped, 6 a BITag used twice, 7 a write-back that is lost, 8
// Cmp for Cmp-E, 9 a response lost, 10 a snoop without lines.
    reg [`NDR_BITS-1:0] ndr__payload;
    reg ndr__valid;
    reg [`DRS_BITS-1:0] drs__payload;
    reg drs__valid;
    reg [`BISNP_BITS-1:0] bisnp__payload;
    reg bisnp__valid;
    reg [`SLOT_RECORD_BITS-1:0] slot_record__payload;
    reg slot_record__valid;

    localparam HELD_I = 0, HELD_A = 2, HELD_S = 3;
    localparam LINES = 1 << 13, REQS = 32, QUEUE = 64;

    assign {page_command__payload, page_command__valid, page_done__ready} = 0;
    assign {engine_record__payload, engine_record__valid} = 0;
    assign {mem__awid, mem__awaddr, mem__awlen, mem__awsize, mem__awburst, mem__awvalid} = 0;
    assign {mem__arid, mem__araddr, mem__arlen, mem__arsize, mem__arburst, mem__arvalid} = 0;
    assign {mem__wdata, mem__wstrb, mem__wlast, mem__wvalid, mem__bready, mem__rready} = 0;

    reg [511:0] memory [0:LINES-1];
    reg [511:0] former [0:LINES-1];
    reg [1:0] held [0:`HOSTS*LINES-1];
    reg busy [0:LINES-1];
    // the request, plus 1, that a snoop has been sent for: it is the next to get the line
    reg [7:0] promised [0:LINES-1];

    reg [`REQ_BITS-1:0] waiting [0:REQS-1];
    reg is_waiting [0:REQS-1];
    // a read of the current value has had its snoop
    reg was_snooped [0:REQS-1];
    reg was_held [0:REQS-1];
    integer waits;

    reg [`NDR_BITS-1:0] ndrs [0:QUEUE-1];
    reg [`DRS_BITS-1:0] drss [0:QUEUE-1];
    integer ndr_first, ndr_count, drs_first, drs_count;

    reg snoop_busy [0:`SNOOPS-1];
    reg snoop_host [0:`SNOOPS-1];
    reg [1:0] snoop_kind [0:`SNOOPS-1];
    reg [3:0] snoop_lines [0:`SNOOPS-1];
    reg [31:0] snoop_sector [0:`SNOOPS-1];

    reg [31:0] reads, writes, next_record;
    reg [`REQ_BITS-1:0] req;
    reg [`RWD_BITS-1:0] rwd;
    reg [`BIRSP_BITS-1:0] birsp;
    reg [`NDR_BITS-1:0] ndr;
    reg [`DRS_BITS-1:0] drs;
    reg [511:0] word, data;
    reg [63:0] bytes;
    reg [3:0] ld_id, opcode, lines, mask;
    reg [1:0] meta, field, kind, mine, after;
    reg [2:0] snp, grant;
    reg launched;
    integer i, r, s, h, line, k, other, needed, tag, place, free;
    `include "random.vh"

    assign req__ready = waits < REQS && !rst;
    assign rwd__ready = ndr_count < QUEUE - 4 && !rst;
    assign birsp__ready = !rst;

    task complete(input [2:0] what, input [15:0] to, input [3:0] whom);
        begin
            ndr = 0;
            ndr[`NDR_OPCODE] = what;
            ndr[`NDR_META_FIELD] = 3;
            ndr[`NDR_TAG] = to;
            ndr[`NDR_LD_ID] = whom;
            ndrs[(ndr_first + ndr_count) % QUEUE] = ndr;
            ndr_count = ndr_count + 1;
        end
    endtask

    // Ask host `h` for `lines` of the sector of `line`, if a BITag is free: `needed` is 2 then.
    task launch(input [1:0] what);
        if (!bisnp__valid && !launched && ndr_count == 0) begin
            free = -1;
            for (i = 0; i < `SNOOPS; i = i + 1) if (!snoop_busy[i]) free = i;
            if (fault == 6 && snoop_busy[0]) free = 0;
            if (free >= 0) begin
                needed = 2;
                launched = 1;
                snoop_busy[free] = 1;
                snoop_host[free] = h;
                snoop_kind[free] = what;
                snoop_lines[free] = lines;
                snoop_sector[free] = line - line % 4;
                for (i = 0; i < 4; i = i + 1) if (lines[i]) busy[snoop_sector[free] + i] = 1;
                bisnp__payload <= 0;
                bisnp__payload[`BISNP_BI_ID] <= h;
                bisnp__payload[`BISNP_BI_TAG] <= free;
                case (lines)
                    1: i = 0;
                    2: i = 1;
                    4: i = 2;
                    8: i = 3;
                    4'b0011: i = 5;
                    4'b1100: i = 6;
                    default: i = 7;
                endcase
                if (fault == 10 && i > 4) i = 4;
                bisnp__payload[`BISNP_OPCODE] <= what + (i > 3 ? `BISNP_BLOCK : 0);
                bisnp__payload[`BISNP_ADDRESS] <= snoop_sector[free] + i % 4;
                bisnp__valid <= 1;
            end
        end
    endtask

    // What the request at place `r` needs: 0 nothing, 1 to wait.
    task serve;
        begin
            req = waiting[r];
            line = req[`REQ_ADDRESS] % LINES;
            ld_id = req[`REQ_LD_ID];
            opcode = req[`REQ_OPCODE];
            meta = req[`REQ_META_VALUE];
            field = req[`REQ_META_FIELD];
            snp = req[`REQ_SNP_TYPE];
            k = ld_id * LINES + line;
            needed = busy[line] && fault != 5 || promised[line] != 0 && promised[line] != r + 1;
            if (!needed && opcode != 10) for (other = 0; other < `HOSTS; other = other + 1) if (other != ld_id) begin
                mine = held[other * LINES + line];
                h = other;
                lines = 1 << line % 4;
                if (snp == 3 && mine != HELD_I && fault != 3) begin
                    needed = 1;
                    launch(2);
                end else if (snp == 1 && mine == HELD_A) begin
                    needed = 1;
                    launch(1);
                end else if (snp == 2 && mine == HELD_A && !was_snooped[r]) begin
                    needed = 1;
                    launch(0);
                    if (needed == 2) was_snooped[r] = 1;
                end
            end
            if (needed == 2) promised[line] = r + 1;
            if (needed != 0) begin
                if (!was_held[r] && !slot_record__valid) begin
                    was_held[r] = 1;
                    note(`OUTCOME_HELD_LINE);
                end
            end else if (!was_held[r] || !slot_record__valid) begin
                if (was_held[r]) note(`OUTCOME_HIT);
                // Meta0 A, S, I; without metadata MemRdData asks for what it can get.
                grant = 0;
                after = held[k];
                if (field == 0) begin
                    after = meta;
                    grant = meta == HELD_A ? 2 : meta == HELD_S ? 1 : 0;
                end else if (opcode == 2 && after != HELD_A) begin
                    grant = 2;
                    after = HELD_A;
                    for (other = 0; other < `HOSTS; other = other + 1)
                        if (held[other * LINES + line] != HELD_I) begin
                            grant = 1;
                            after = HELD_S;
                        end
                end else if (opcode == 2) grant = 2;
                held[k] = after;
                if (fault == 8 && grant == 2) grant = 0;
                reads = reads + 1;
                if (!(fault == 9 && reads > 100)) complete(grant, req[`REQ_TAG], ld_id);
                if (opcode == 1 || opcode == 2) begin
                    drs = 0;
                    drs[`DRS_TAG] = req[`REQ_TAG];
                    drs[`DRS_LD_ID] = ld_id;
                    drs[`DRS_META_FIELD] = 3;
                    drs[`DRS_DATA] = fault == 2 && reads > 100 ? former[line] : memory[line];
                    drss[(drs_first + drs_count) % QUEUE] = drs;
                    drs_count = drs_count + 1;
                end
                promised[line] = 0;
                is_waiting[r] = 0;
                waits = waits - 1;
            end
        end
    endtask

    task note(input [4:0] outcome);
        begin
            slot_record__payload <= 0;
            slot_record__payload[`SLOT_RECORD_SEQUENCE] <= next_record;
            slot_record__payload[`SLOT_RECORD_OUTCOME] <= outcome;
            slot_record__payload[`SLOT_RECORD_TAG] <= req[`REQ_TAG];
            slot_record__payload[`SLOT_RECORD_ACCESS] <= 1;
            slot_record__valid <= 1;
            next_record = next_record + 1;
        end
    endtask

    task write;
        begin
            line = rwd[`RWD_ADDRESS] % LINES;
            ld_id = rwd[`RWD_LD_ID];
            opcode = rwd[`RWD_OPCODE];
            k = ld_id * LINES + line;
            if (opcode == `RWD_OPCODE_BI_CONFLICT) begin
                complete(fault == 1 ? 3 : `NDR_OPCODE_BI_CONFLICT_ACK, rwd[`RWD_TAG], ld_id);
                if (fault == 4) complete(`NDR_OPCODE_BI_CONFLICT_ACK, rwd[`RWD_TAG], ld_id);
            end else begin
                mine = held[k];
                writes = writes + 1;
                // A write-back needs ownership; another write is refused where hosts share.
                if (rwd[`RWD_SNP_TYPE] == 0 ? mine == HELD_A && !(fault == 7 && writes > 50) : `HOSTS == 1) begin
                    bytes = rwd[`RWD_BE_PRESENT] ? rwd[`RWD_BE] : ~64'b0;
                    data = rwd[`RWD_DATA];
                    word = memory[line];
                    former[line] = word;
                    for (i = 0; i < 64; i = i + 1) if (bytes[i]) word[8*i +: 8] = data[8*i +: 8];
                    memory[line] = word;
                    held[k] = rwd[`RWD_META_VALUE];
                end
                complete(0, rwd[`RWD_TAG], ld_id);
            end
        end
    endtask

    task answer;
        begin
            tag = birsp[`BIRSP_BI_TAG];
            opcode = birsp[`BIRSP_OPCODE];
            mask = 1 << birsp[`BIRSP_LOW_ADDR];
            if (opcode >= `BISNP_BLOCK || (snoop_lines[tag] & snoop_lines[tag] - 1) == 0) mask = snoop_lines[tag];
            mask = mask & snoop_lines[tag];
            snoop_lines[tag] = snoop_lines[tag] & ~mask;
            if (snoop_lines[tag] == 0) snoop_busy[tag] = 0;
            for (i = 0; i < 4; i = i + 1) if (mask[i]) begin
                busy[snoop_sector[tag] + i] = 0;
                k = snoop_host[tag] * LINES + snoop_sector[tag] + i;
                if (opcode % `BISNP_BLOCK == 0) held[k] = HELD_I;
                if (opcode % `BISNP_BLOCK == 1 && held[k] != HELD_I) held[k] = HELD_S;
            end
        end
    endtask

    initial for (i = 0; i < LINES; i = i + 1) begin
        memory[i] = 0;
        former[i] = 0;
        busy[i] = 0;
        promised[i] = 0;
    end

    always @(posedge clk) begin
        if (rst) begin
            for (i = 0; i < `HOSTS * LINES; i = i + 1) held[i] = HELD_I;
            for (i = 0; i < REQS; i = i + 1) is_waiting[i] = 0;
            for (i = 0; i < `SNOOPS; i = i + 1) snoop_busy[i] = 0;
            waits = 0;
            ndr_first = 0;
            ndr_count = 0;
            drs_first = 0;
            drs_count = 0;
            random = 1;
            reads = 0;
            writes = 0;
            next_record = 0;
            ndr__valid <= 0;
            drs__valid <= 0;
            bisnp__valid <= 0;
            slot_record__valid <= 0;
        end else begin
            if (ndr__ready) ndr__valid <= 0;
            if (drs__ready) drs__valid <= 0;
            if (bisnp__ready) bisnp__valid <= 0;
            if (slot_record__ready) slot_record__valid <= 0;
            if (birsp__valid) begin
                birsp = birsp__payload;
                answer;
            end
            if (rwd__valid && rwd__ready) begin
                rwd = rwd__payload;
                write;
            end
            if (req__valid && req__ready) begin
                req = req__payload;
                // MemSpecRd is dropped.
                if (req[`REQ_OPCODE] != 8) begin
                    r = 0;
                    while (is_waiting[r]) r = r + 1;
                    is_waiting[r] = 1;
                    was_snooped[r] = 0;
                    was_held[r] = 0;
                    waiting[r] = req;
                    waits = waits + 1;
                end
            end
            launched = 0;
            draw(REQS);
            r = drawn;
            if (is_waiting[r] && ndr_count < QUEUE - 8 && drs_count < QUEUE - 1) serve;
            // A sector that some host holds is taken back, or asked for.
            draw(`HOSTS);
            h = drawn;
            draw(LINES / 8);
            line = drawn * 4;
            draw(3);
            lines = 0;
            for (i = 0; i < 4; i = i + 1) if (held[h * LINES + line + i] != HELD_I) lines[i] = 1;
            if (lines & lines - 1) lines = lines & 4'b1100 ? lines & 4'b0011 ? 4'b1111 : 4'b1100 : 4'b0011;
            if (lines != 0 && !busy[line] && !busy[line+1] && !busy[line+2] && !busy[line+3]) launch(drawn);
            if (ndr_count != 0 && (!ndr__valid || ndr__ready)) begin
                ndr__payload <= ndrs[ndr_first];
                ndr__valid <= 1;
                ndr_first = (ndr_first + 1) % QUEUE;
                ndr_count = ndr_count - 1;
            end
            if (drs_count != 0 && (!drs__valid || drs__ready)) begin
                drs__payload <= drss[drs_first];
                drs__valid <= 1;
                drs_first = (drs_first + 1) % QUEUE;
                drs_count = drs_count - 1;
            end
        end
    end
