// An endpoint without metadata: every block has frames, records are made up, no line is cached. Reads of lines never
// written give zeros. Each 16th write is followed by a page program of its frame and a page read into another, which
// takes its place: whatever flash does not move is lost. In mode mxint8 a block has two frames, their sidecar rows used
// as data lines too. Responses say a load by the reads in flight: 2 are optimal, 4 moderate overload, 6 severe. `fault`
// breaks a rule: 1 a lost response, 2 wrong data, 3 a doubled sequence number, 4 a response twice, 5 an access outside
// memory, 6 a page that was never programmed.
    reg [`NDR_BITS-1:0] ndr__payload;
    reg ndr__valid;
    reg [`DRS_BITS-1:0] drs__payload;
    reg drs__valid;
    reg [`PAGE_COMMAND_BITS-1:0] page_command__payload;
    reg page_command__valid;
    reg [`SLOT_RECORD_BITS-1:0] slot_record__payload;
    reg slot_record__valid;
    reg [`ENGINE_RECORD_BITS-1:0] engine_record__payload;
    reg engine_record__valid;
    reg mem__arvalid, mem__awvalid, mem__wvalid;
    reg [511:0] mem__wdata;
    reg [63:0] mem__wstrb;

    localparam READS = 8;
    localparam IDLE = 0, WRITING = 1, PROGRAM = 2, PROGRAMMING = 3, FETCH = 4, FETCHING = 5, TWICE = 6;

    reg [2:0] state;
    reg [31:0] next_record, writes, reads;
    reg written [0:`MEMORY_LINES-1];
    integer i;

    // Reads, by ID: in flight, the tag, whether the line was ever written; then an answer in two halves.
    reg flying [0:READS-1];
    reg [15:0] tags [0:READS-1];
    reg known [0:READS-1];
    integer free_id, in_flight;
    reg [15:0] write_tag;
    reg [1:0] load;
    reg [63:0] enables;

    // One thing at a time leaves: a record has to be gone before the next message is taken.
    wire room = !slot_record__valid && !engine_record__valid && !ndr__valid && !drs__valid && !mem__arvalid;
    assign rwd__ready = state == IDLE && room && in_flight == 0;
    assign req__ready = state == IDLE && room && in_flight < READS && !rwd__valid;
    assign page_done__ready = state == PROGRAMMING || state == FETCHING;
    assign mem__bready = state == WRITING && !ndr__valid;
    assign mem__rready = !ndr__valid && !drs__valid;
    assign {bisnp__payload, bisnp__valid} = 0;
    assign birsp__ready = 1;

    reg [31:0] read_line, write_line;
    reg [`MEM_ID_BITS-1:0] arid;
    assign mem__araddr = fault == 5 ? ~0 : read_line << `LINE_SIZE;
    assign mem__awaddr = write_line << `LINE_SIZE;
    assign mem__arid = arid;
    assign mem__awid = 3;
    assign mem__arlen = 0;
    assign mem__awlen = 0;
    assign mem__arsize = `LINE_SIZE;
    assign mem__awsize = `LINE_SIZE;
    assign mem__arburst = 1;
    assign mem__awburst = 1;
    assign mem__wlast = 1;

    // Blocks have one frame in mode exact, two in mode mxint8; a frame more is spare.
    integer frame_of [0:2*`PAGES-1];
    integer spare, number, frame, swapped;

    // The number of a line's frame, and where it lies in memory.
    function integer number_of(input [31:0] line);
        number_of = mode ? line / `LINES_PER_BLOCK * 2 + (line % `LINES_PER_BLOCK >= `MXINT8_PAGE_LINES)
            : line / `LINES_PER_BLOCK;
    endfunction

    function [31:0] place(input [31:0] line);
        integer frame, i;
        begin
            frame = frame_of[number_of(line)];
            i = line % `LINES_PER_BLOCK;
            if (mode && i >= `MXINT8_PAGE_LINES) i = i - `MXINT8_PAGE_LINES;
            if (!mode) place = frame * `EXACT_DATA_LINES + i;
            else if (i < `MXINT8_DATA_LINES) place = `MXINT8_BASE + frame * `MXINT8_DATA_LINES + i;
            else place = `SIDECAR_BASE + `MXINT8_ROW_BASE + 2 * frame + i - `MXINT8_DATA_LINES;
        end
    endfunction

    task note(input [5:0] kind);
        begin
            engine_record__payload <= 0;
            engine_record__payload[`ENGINE_RECORD_SEQUENCE] <= next_record;
            engine_record__payload[`ENGINE_RECORD_KIND] <= kind;
            engine_record__payload[`ENGINE_RECORD_FRAME] <= frame;
            engine_record__valid <= 1;
            next_record = next_record + 1;
        end
    endtask

    task record(input [3:0] kind, input [15:0] tag);
        begin
            slot_record__payload <= 0;
            slot_record__payload[`SLOT_RECORD_SEQUENCE] <= next_record;
            slot_record__payload[`SLOT_RECORD_KIND] <= kind;
            slot_record__payload[`SLOT_RECORD_TAG] <= tag;
            slot_record__valid <= 1;
            next_record = next_record + 1;
        end
    endtask

    task command(input write);
        begin
            frame = write ? frame_of[number] : spare;
            page_command__payload <= 0;
            page_command__payload[`PAGE_COMMAND_WRITE] <= write;
            page_command__payload[`PAGE_COMMAND_TAG] <= 1;
            page_command__payload[`PAGE_COMMAND_PAGE] <= number % `PAGES;
            page_command__payload[`PAGE_COMMAND_MODE] <= mode;
            page_command__payload[`PAGE_COMMAND_FRAME] <= frame;
            page_command__valid <= 1;
            note(write ? 7 : 6);
        end
    endtask

    initial for (i = 0; i < `MEMORY_LINES; i = i + 1) written[i] = 0;

    always @(posedge clk) begin
        if (ndr__ready) ndr__valid <= 0;
        if (drs__ready) drs__valid <= 0;
        if (slot_record__ready) slot_record__valid <= 0;
        if (engine_record__ready) engine_record__valid <= 0;
        if (page_command__ready) page_command__valid <= 0;
        if (mem__arready) mem__arvalid <= 0;
        if (mem__awready) mem__awvalid <= 0;
        if (mem__wready) mem__wvalid <= 0;
        if (rst) begin
            state <= IDLE;
            next_record = 0;
            writes = 0;
            reads = 0;
            in_flight = 0;
            for (i = 0; i < READS; i = i + 1) flying[i] = 0;
            for (i = 0; i < 2 * `PAGES; i = i + 1) frame_of[i] = i;
            spare = 2 * `PAGES;
            ndr__valid <= 0;
            drs__valid <= 0;
            slot_record__valid <= 0;
            engine_record__valid <= 0;
            page_command__valid <= 0;
            mem__arvalid <= 0;
            mem__awvalid <= 0;
            mem__wvalid <= 0;
        end else begin
            if (req__valid && req__ready) begin
                reads = reads + 1;
                for (i = 0; i < READS; i = i + 1) if (!flying[i]) free_id = i;
                flying[free_id] = 1;
                in_flight = in_flight + 1;
                tags[free_id] = req__payload[`REQ_TAG];
                known[free_id] = written[req__payload[`REQ_ADDRESS] % (`PAGES * `LINES_PER_BLOCK)];
                arid <= free_id;
                read_line <= place(req__payload[`REQ_ADDRESS] % (`PAGES * `LINES_PER_BLOCK));
                mem__arvalid <= 1;
                record(0, req__payload[`REQ_TAG]);
            end
            if (mem__rvalid && mem__rready) begin
                load = in_flight >= 6 ? 3 : in_flight >= 4 ? 2 : in_flight >= 2 ? 1 : 0;
                flying[mem__rid] = 0;
                in_flight = in_flight - 1;
                ndr__payload <= 0;
                ndr__payload[`NDR_TAG] <= tags[mem__rid];
                ndr__payload[`NDR_DEV_LOAD] <= load;
                ndr__valid <= 1;
                drs__payload <= 0;
                drs__payload[`DRS_TAG] <= tags[mem__rid];
                drs__payload[`DRS_DEV_LOAD] <= load;
                drs__payload[`DRS_DATA] <= 0;
                if (known[mem__rid]) drs__payload[`DRS_DATA] <= mem__rdata ^ (fault == 2 && reads >= 40);
                drs__valid <= !(fault == 1 && reads > 40);
            end
            case (state)
                IDLE: if (rwd__valid && rwd__ready) begin
                    writes = writes + 1;
                    write_tag <= rwd__payload[`RWD_TAG];
                    write_line <= place(rwd__payload[`RWD_ADDRESS] % (`PAGES * `LINES_PER_BLOCK));
                    number = number_of(rwd__payload[`RWD_ADDRESS] % (`PAGES * `LINES_PER_BLOCK));
                    mem__awvalid <= 1;
                    mem__wvalid <= 1;
                    mem__wstrb <= {64{1'b1}};
                    mem__wdata <= rwd__payload[`RWD_DATA];
                    if (rwd__payload[`RWD_BE_PRESENT]) begin
                        if (written[rwd__payload[`RWD_ADDRESS] % (`PAGES * `LINES_PER_BLOCK)]) mem__wstrb <= rwd__payload[`RWD_BE];
                        else begin
                            enables = rwd__payload[`RWD_BE];
                            for (i = 0; i < 64; i = i + 1) if (!enables[i]) mem__wdata[8*i +: 8] <= 0;
                        end
                    end
                    written[rwd__payload[`RWD_ADDRESS] % (`PAGES * `LINES_PER_BLOCK)] = 1;
                    if (fault == 3 && writes == 20) next_record = next_record - 1;
                    record(1, rwd__payload[`RWD_TAG]);
                    state <= WRITING;
                end
                WRITING: if (mem__bvalid && mem__bready) begin
                    ndr__payload <= 0;
                    ndr__payload[`NDR_TAG] <= write_tag;
                    ndr__valid <= 1;
                    state <= IDLE;
                    if (writes % 16 == 0) state <= fault == 6 ? FETCH : PROGRAM;
                    if (writes == 20 && fault == 4) state <= TWICE;
                end
                PROGRAM: if (room) begin
                    command(1);
                    state <= PROGRAMMING;
                end
                PROGRAMMING: if (page_done__valid) state <= FETCH;
                FETCH: if (room) begin
                    command(0);
                    state <= FETCHING;
                end
                FETCHING: if (page_done__valid) begin
                    swapped = frame_of[number];
                    frame_of[number] = spare;
                    spare = swapped;
                    state <= IDLE;
                end
                TWICE: if (room) begin
                    ndr__valid <= 1;
                    state <= IDLE;
                end
            endcase
        end
    end
