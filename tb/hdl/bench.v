// The batch form's top: the endpoint with player, media and recorder around it; simulation only. The clock and the
// registers come from cocotb (tb/runs/batch.py), which sets the inputs before `start` and then waits for `done`, `stuck` or
// `error`.
`include "layout.vh"

module bench (
    input clk,
    input rst,
    input start,
    // parameters of the run, constant from `start` on
    input [15:0] max_reads,
    input [15:0] max_writes,
    // the host slows down on the load that responses say
    input throttle,
    input [15:0] memory_latency,
    input [31:0] flash_read_clocks,
    input [31:0] flash_program_clocks,
    // 0: nothing pauses; else every port pauses a quarter of the time, at random
    input [31:0] pause_seed,
    // besides, with a seed: one port or none, chosen at random for so many clocks, pauses; 0: none does
    input [15:0] burst_clocks,
    // 0: no errors; else so many accesses of 65,536 fail (tb/hdl/media.v)
    input [31:0] error_seed,
    input [16:0] read_errors,
    input [16:0] write_errors,
    input [16:0] page_read_errors,
    input [16:0] page_write_errors,
    input record_data,
    input record_clocks,
    // messages in full, the clocks of all records (tb/hdl/recorder.v)
    input record_trace,
    // 0, or the stimulus is played again and again, and for so many clocks only
    input [31:0] play_clocks,
    // clocks without activity until the run has ended, or is stuck
    input [31:0] quiet_clocks,
    input [31:0] watchdog_clocks,
    // clocks that one message may take; 0: any number
    input [31:0] message_clocks,
    // the player's host drops what it may cache, and answers a BISnp after so many clocks (tb/hdl/dropping_host.v)
    input [15:0] snoop_clocks,
    // hosts that cache and race; 0 requests: none (tb/hdl/caching_hosts.v, tb/stimuli/caching.py)
    input [31:0] hosts_requests,
    input [`ADDRESS_BITS-1:0] hosts_base,
    input [15:0] hosts_blocks,
    input [7:0] hosts_lines,
    input [15:0] hosts_block_step,
    input [31:0] hosts_seed,
    input [7:0] hosts_in_flight,
    input [8:0] hosts_rate,
    input [8:0] hosts_races,
    input [8:0] hosts_near,
    input [15:0] hosts_snoop_min,
    input [15:0] hosts_snoop_max,
    input [15:0] hosts_link_max,
    input hosts_shared,
    input [8*`ACTIONS-1:0] hosts_shares,

    output reg done,
    output reg stuck,
    // a message has waited for `message_clocks`
    output reg overdue,
    output [3:0] error,
    output [15:0] error_tag,
    output outstanding,
    output [15:0] oldest,
    output [31:0] slowest,
    output reg [31:0] clock,
    output [63:0] issued,
    output [63:0] answered,
    output [63:0] records,
    // lines that the endpoint has read from DDR5, and written
    output reg [63:0] lines_read,
    output reg [63:0] lines_written,
    // responses by the load that they say, a counter of 64 bits a level, the lightest lowest
    output [255:0] loads,
    // BISnp, the most that were not answered at once, and how many were, added up over the clocks
    output reg [63:0] snoops,
    output reg [12:0] snoops_most,
    output reg [63:0] snoop_clocks_total,
    // BIConflicts answered before and after the completion of their request
    output [63:0] conflicts_early,
    output [63:0] conflicts_late,
    // requests that were held, and the clocks that they waited, together and at most
    output [63:0] held,
    output [63:0] held_clocks,
    output [31:0] held_longest,
    output [64*`HOST_COUNTS-1:0] hosts_counts,

    // a register write of the stimulus, which whoever drives the registers carries out (tb/hdl/player.v)
    output [31:0] registers,
    output [31:0] register_address,
    output [31:0] register_data,
    input [31:0] registers_written,

    input [`CSR_ADDRESS_BITS-1:0] csr__awaddr,
    input [2:0] csr__awprot,
    input csr__awvalid,
    output csr__awready,
    input [31:0] csr__wdata,
    input [3:0] csr__wstrb,
    input csr__wvalid,
    output csr__wready,
    output [1:0] csr__bresp,
    output csr__bvalid,
    input csr__bready,
    input [`CSR_ADDRESS_BITS-1:0] csr__araddr,
    input [2:0] csr__arprot,
    input csr__arvalid,
    output csr__arready,
    output [31:0] csr__rdata,
    output [1:0] csr__rresp,
    output csr__rvalid,
    input csr__rready
);
    wire [`REQ_BITS-1:0] req_payload;
    wire [`RWD_BITS-1:0] rwd_payload;
    wire [`NDR_BITS-1:0] ndr_payload;
    wire [`DRS_BITS-1:0] drs_payload;
    wire [`SLOT_RECORD_BITS-1:0] slot_payload;
    wire [`ENGINE_RECORD_BITS-1:0] engine_payload;
    wire [`PAGE_COMMAND_BITS-1:0] command_payload;
    wire [`PAGE_DONE_BITS-1:0] page_done_payload;
    wire [`BISNP_BITS-1:0] bisnp_payload;
    wire [`BIRSP_BITS-1:0] birsp_payload;
    wire req_valid, req_ready, rwd_valid, rwd_ready, ndr_valid, drs_valid, slot_valid, engine_valid;
    wire bisnp_valid, birsp_valid, birsp_ready;
    wire command_valid, command_ready, page_done_valid, page_done_ready;
    reg ndr_ready, drs_ready, slot_ready, engine_ready, bisnp_ready;

    wire [`MEM_ADDRESS_BITS-1:0] awaddr, araddr;
    wire [`MEM_ID_BITS-1:0] awid, arid, bid, rid;
    wire [7:0] awlen, arlen;
    wire [2:0] awsize, arsize;
    wire [511:0] wdata, rdata;
    wire [1:0] rresp, bresp;
    wire [63:0] wstrb;
    wire wlast, awvalid, awready, arvalid, arready, wvalid, wready, bvalid, bready, rvalid, rready;

    // Pauses: two bits of a xorshift generator a port.
    reg [31:0] random;
    reg [31:0] mixed;
    reg [14:0] burst;
    reg [15:0] burst_left;
    wire [14:0] pause = {random[14:13] & random[16:15], random[12:0] & random[31:19]} | burst;

    always @(posedge clk) begin
        if (rst) random <= pause_seed;
        else begin
            mixed = random ^ (random << 13);
            mixed = mixed ^ (mixed >> 17);
            random <= mixed ^ (mixed << 5);
        end
        if (rst || pause_seed == 0 || burst_clocks == 0) begin
            burst <= 0;
            burst_left <= 0;
        end else if (burst_left != 0) burst_left <= burst_left - 1;
        else begin
            burst <= 15'd1 << random[17:13];
            burst_left <= burst_clocks;
        end
        bisnp_ready <= !rst && !pause[13];
        ndr_ready <= !rst && !pause[0];
        drs_ready <= !rst && !pause[1];
        slot_ready <= !rst && !pause[2];
        engine_ready <= !rst && !pause[3];
    end

    wire ndr_taken = ndr_valid && ndr_ready;
    wire drs_taken = drs_valid && drs_ready;
    wire bisnp_taken = bisnp_valid && bisnp_ready;
    wire slot_taken = slot_valid && slot_ready;
    wire engine_taken = engine_valid && engine_ready;

    // What counts as progress, and what happens at all.
    wire progress = ndr_taken || drs_taken || slot_taken || engine_taken || (command_valid && command_ready)
        || bisnp_taken;
    wire activity = ndr_valid || drs_valid || slot_valid || engine_valid || command_valid || req_valid || rwd_valid
        || bisnp_valid || birsp_valid || arvalid || awvalid || wvalid || rvalid || bvalid || page_done_valid;
    wire played, dropper_done, hosts_done, busy;
    wire [3:0] player_error, media_error, dropper_error, hosts_error;
    wire [15:0] player_tag, dropper_tag, hosts_tag, player_oldest, hosts_oldest;
    wire [31:0] player_age, hosts_age, player_slowest, hosts_slowest;
    wire [63:0] player_issued, player_answered;
    wire player_outstanding, hosts_outstanding;
    wire [12:0] dropper_snoops, hosts_snoops;
    reg [31:0] quiet, still;
    assign error = player_error != 0 ? player_error : dropper_error != 0 ? dropper_error
        : hosts_error != 0 ? hosts_error : media_error;
    assign error_tag = player_error != 0 ? player_tag : dropper_error != 0 ? dropper_tag : hosts_tag;
    assign outstanding = player_outstanding || hosts_outstanding;
    wire [31:0] age = player_age > hosts_age ? player_age : hosts_age;
    assign oldest = player_age > hosts_age || !hosts_outstanding ? player_oldest : hosts_oldest;
    assign slowest = player_slowest > hosts_slowest ? player_slowest : hosts_slowest;
    assign issued = player_issued + hosts_counts[64 * `HOST_COUNT_ISSUED +: 64];
    assign answered = player_answered + hosts_counts[64 * `HOST_COUNT_ANSWERED +: 64];
    wire [12:0] open_snoops = dropper_snoops + hosts_snoops;

    always @(posedge clk) begin
        if (rst || !start) begin
            clock <= 0;
            quiet <= 0;
            still <= 0;
            done <= 0;
            stuck <= 0;
            lines_read <= 0;
            lines_written <= 0;
            overdue <= 0;
            snoops <= 0;
            snoops_most <= 0;
            snoop_clocks_total <= 0;
        end else begin
            clock <= clock + 1;
            lines_read <= lines_read + (rvalid && rready);
            lines_written <= lines_written + (wvalid && wready);
            snoops <= snoops + bisnp_taken;
            if (open_snoops > snoops_most) snoops_most <= open_snoops;
            snoop_clocks_total <= snoop_clocks_total + open_snoops;
            quiet <= activity || busy || !played || !dropper_done || !hosts_done ? 0 : quiet + 1;
            still <= progress || !outstanding ? 0 : still + 1;
            if (quiet >= quiet_clocks) done <= 1;
            if (still >= watchdog_clocks) stuck <= 1;
            if (message_clocks != 0 && age >= message_clocks) overdue <= 1;
        end
    end

    // Who drives what: the player and the caching hosts have messages of their own, and BIRsp of their own snoops; the
    // player's host has BIConflicts besides. Tags of the caching hosts have their highest bit set.
    wire [63:0] dropper_early, dropper_late;
    wire with_hosts = hosts_requests != 0;
    wire [15:0] ndr_tag = ndr_payload[`NDR_TAG];
    wire [15:0] drs_tag = drs_payload[`DRS_TAG];
    wire to_player_ndr = ndr_taken && !(with_hosts && ndr_tag[15]);
    wire to_player_drs = drs_taken && !(with_hosts && drs_tag[15]);
    wire [`REQ_BITS-1:0] player_req, hosts_req;
    wire [`RWD_BITS-1:0] player_rwd, dropper_rwd, hosts_rwd, dropping_rwd;
    wire [`BIRSP_BITS-1:0] dropper_birsp, hosts_birsp;
    wire player_req_valid, player_req_ready, hosts_req_valid, hosts_req_ready;
    wire player_rwd_valid, player_rwd_ready, dropper_rwd_valid, dropper_rwd_ready, hosts_rwd_valid, hosts_rwd_ready;
    wire dropping_rwd_valid, dropping_rwd_ready;
    wire dropper_birsp_valid, dropper_birsp_ready, hosts_birsp_valid, hosts_birsp_ready;

    merge #(.BITS(`REQ_BITS)) merge_req (
        .clk(clk), .rst(rst), .a_payload(player_req), .a_valid(player_req_valid), .a_ready(player_req_ready),
        .b_payload(hosts_req), .b_valid(hosts_req_valid), .b_ready(hosts_req_ready),
        .payload(req_payload), .valid(req_valid), .ready(req_ready)
    );
    merge #(.BITS(`RWD_BITS)) merge_dropping (
        .clk(clk), .rst(rst), .a_payload(player_rwd), .a_valid(player_rwd_valid), .a_ready(player_rwd_ready),
        .b_payload(dropper_rwd), .b_valid(dropper_rwd_valid), .b_ready(dropper_rwd_ready),
        .payload(dropping_rwd), .valid(dropping_rwd_valid), .ready(dropping_rwd_ready)
    );
    merge #(.BITS(`RWD_BITS)) merge_rwd (
        .clk(clk), .rst(rst), .a_payload(dropping_rwd), .a_valid(dropping_rwd_valid), .a_ready(dropping_rwd_ready),
        .b_payload(hosts_rwd), .b_valid(hosts_rwd_valid), .b_ready(hosts_rwd_ready),
        .payload(rwd_payload), .valid(rwd_valid), .ready(rwd_ready)
    );
    merge #(.BITS(`BIRSP_BITS)) merge_birsp (
        .clk(clk), .rst(rst), .a_payload(dropper_birsp), .a_valid(dropper_birsp_valid), .a_ready(dropper_birsp_ready),
        .b_payload(hosts_birsp), .b_valid(hosts_birsp_valid), .b_ready(hosts_birsp_ready),
        .payload(birsp_payload), .valid(birsp_valid), .ready(birsp_ready)
    );

    player player (
        .clk(clk), .rst(rst), .start(start), .clock(clock), .play_clocks(play_clocks),
        .max_reads(max_reads), .max_writes(max_writes), .throttle(throttle),
        .req_pause(pause[4]), .rwd_pause(pause[5]),
        .req_payload(player_req), .req_valid(player_req_valid), .req_ready(player_req_ready),
        .rwd_payload(player_rwd), .rwd_valid(player_rwd_valid), .rwd_ready(player_rwd_ready),
        .ndr_taken(to_player_ndr && ndr_payload[`NDR_OPCODE] != `NDR_OPCODE_BI_CONFLICT_ACK),
        .ndr_tag(ndr_tag), .ndr_load(ndr_payload[`NDR_DEV_LOAD]),
        .drs_taken(to_player_drs), .drs_tag(drs_tag), .drs_load(drs_payload[`DRS_DEV_LOAD]),
        .drs_nxm(drs_payload[`DRS_OPCODE] == `DRS_OPCODE_NXM),
        .done(played), .outstanding(player_outstanding), .oldest(player_oldest), .age(player_age),
        .slowest(player_slowest), .issued(player_issued), .answered(player_answered), .loads(loads),
        .registers(registers), .register_address(register_address), .register_data(register_data),
        .registers_written(registers_written),
        .error(player_error), .error_tag(player_tag)
    );

    dropping_host dropping_host (
        .clk(clk), .rst(rst), .clock(clock), .snoop_clocks(snoop_clocks),
        .req_payload(player_req), .req_valid(player_req_valid), .req_ready(player_req_ready),
        .ndr_taken(to_player_ndr), .ndr_payload(ndr_payload),
        .drs_taken(to_player_drs), .drs_payload(drs_payload),
        .bisnp_taken(bisnp_taken && !with_hosts), .bisnp_payload(bisnp_payload),
        .rwd_payload(dropper_rwd), .rwd_valid(dropper_rwd_valid), .rwd_ready(dropper_rwd_ready),
        .birsp_payload(dropper_birsp), .birsp_valid(dropper_birsp_valid), .birsp_ready(dropper_birsp_ready),
        .done(dropper_done), .open_snoops(dropper_snoops), .early(dropper_early), .late(dropper_late),
        .error(dropper_error), .error_tag(dropper_tag)
    );

    caching_hosts caching_hosts (
        .clk(clk), .rst(rst), .start(start), .clock(clock),
        .requests(hosts_requests), .base(hosts_base), .blocks(hosts_blocks), .lines(hosts_lines),
        .block_step(hosts_block_step), .seed(hosts_seed), .in_flight(hosts_in_flight), .rate(hosts_rate),
        .races(hosts_races), .near(hosts_near),
        .snoop_min(hosts_snoop_min), .snoop_max(hosts_snoop_max), .link_max(hosts_link_max),
        .shared(hosts_shared), .shares(hosts_shares),
        .req_pause(pause[4]), .rwd_pause(pause[5]), .birsp_pause(pause[14]),
        .req_payload(hosts_req), .req_valid(hosts_req_valid), .req_ready(hosts_req_ready),
        .rwd_payload(hosts_rwd), .rwd_valid(hosts_rwd_valid), .rwd_ready(hosts_rwd_ready),
        .ndr_taken(ndr_taken), .ndr_payload(ndr_payload), .drs_taken(drs_taken), .drs_payload(drs_payload),
        .bisnp_taken(bisnp_taken && with_hosts), .bisnp_payload(bisnp_payload),
        .birsp_payload(hosts_birsp), .birsp_valid(hosts_birsp_valid), .birsp_ready(hosts_birsp_ready),
        .done(hosts_done), .outstanding(hosts_outstanding), .oldest(hosts_oldest), .age(hosts_age),
        .slowest(hosts_slowest), .counts(hosts_counts), .open_snoops(hosts_snoops),
        .error(hosts_error), .error_tag(hosts_tag)
    );

    assign conflicts_early = dropper_early + hosts_counts[64 * `HOST_COUNT_EARLY +: 64];
    assign conflicts_late = dropper_late + hosts_counts[64 * `HOST_COUNT_LATE +: 64];

    media media (
        .clk(clk), .rst(rst), .clock(clock), .latency(memory_latency),
        .read_clocks(flash_read_clocks), .program_clocks(flash_program_clocks), .pause(pause[12:6]),
        .error_seed(error_seed), .read_errors(read_errors), .write_errors(write_errors),
        .page_read_errors(page_read_errors), .page_write_errors(page_write_errors),
        .araddr(araddr), .arid(arid), .arlen(arlen), .arsize(arsize), .arvalid(arvalid), .arready(arready),
        .awaddr(awaddr), .awid(awid), .awlen(awlen), .awsize(awsize), .awvalid(awvalid), .awready(awready),
        .wdata(wdata), .wstrb(wstrb), .wlast(wlast), .wvalid(wvalid), .wready(wready),
        .rid(rid), .rdata(rdata), .rresp(rresp), .rvalid(rvalid), .rready(rready),
        .bid(bid), .bresp(bresp), .bvalid(bvalid), .bready(bready),
        .command_payload(command_payload), .command_valid(command_valid), .command_ready(command_ready),
        .done_payload(page_done_payload), .done_valid(page_done_valid), .done_ready(page_done_ready),
        .busy(busy), .error(media_error)
    );

    recorder recorder (
        .clk(clk), .rst(rst), .clock(clock), .with_data(record_data), .with_clocks(record_clocks),
        .with_trace(record_trace), .with_hosts(with_hosts), .flush(done || stuck || overdue || error != 0),
        .req_valid(req_valid), .req_ready(req_ready), .req_payload(req_payload),
        .rwd_valid(rwd_valid), .rwd_ready(rwd_ready), .rwd_payload(rwd_payload),
        .bisnp_taken(bisnp_taken), .bisnp_payload(bisnp_payload),
        .birsp_taken(birsp_valid && birsp_ready), .birsp_payload(birsp_payload),
        .ndr_taken(ndr_taken), .ndr_payload(ndr_payload), .drs_taken(drs_taken), .drs_payload(drs_payload),
        .slot_taken(slot_taken), .slot_payload(slot_payload),
        .engine_taken(engine_taken), .engine_payload(engine_payload), .records(records),
        .held(held), .held_clocks(held_clocks), .held_longest(held_longest)
    );

    endpoint endpoint (
        .clk(clk), .rst(rst),
        .req__payload(req_payload), .req__valid(req_valid), .req__ready(req_ready),
        .rwd__payload(rwd_payload), .rwd__valid(rwd_valid), .rwd__ready(rwd_ready),
        .ndr__payload(ndr_payload), .ndr__valid(ndr_valid), .ndr__ready(ndr_ready),
        .drs__payload(drs_payload), .drs__valid(drs_valid), .drs__ready(drs_ready),
        .bisnp__payload(bisnp_payload), .bisnp__valid(bisnp_valid), .bisnp__ready(bisnp_ready),
        .birsp__payload(birsp_payload), .birsp__valid(birsp_valid), .birsp__ready(birsp_ready),
        .page_command__payload(command_payload), .page_command__valid(command_valid),
        .page_command__ready(command_ready),
        .page_done__payload(page_done_payload), .page_done__valid(page_done_valid), .page_done__ready(page_done_ready),
        .slot_record__payload(slot_payload), .slot_record__valid(slot_valid), .slot_record__ready(slot_ready),
        .engine_record__payload(engine_payload), .engine_record__valid(engine_valid),
        .engine_record__ready(engine_ready),
        .mem__awid(awid), .mem__awaddr(awaddr), .mem__awlen(awlen), .mem__awsize(awsize), .mem__awburst(),
        .mem__awvalid(awvalid), .mem__awready(awready),
        .mem__arid(arid), .mem__araddr(araddr), .mem__arlen(arlen), .mem__arsize(arsize), .mem__arburst(),
        .mem__arvalid(arvalid), .mem__arready(arready),
        .mem__wdata(wdata), .mem__wstrb(wstrb), .mem__wlast(wlast), .mem__wvalid(wvalid), .mem__wready(wready),
        .mem__bid(bid), .mem__bresp(bresp), .mem__bvalid(bvalid), .mem__bready(bready),
        .mem__rid(rid), .mem__rdata(rdata), .mem__rresp(rresp), .mem__rlast(1'b1), .mem__rvalid(rvalid),
        .mem__rready(rready),
        .csr__awaddr(csr__awaddr), .csr__awprot(csr__awprot), .csr__awvalid(csr__awvalid), .csr__awready(csr__awready),
        .csr__wdata(csr__wdata), .csr__wstrb(csr__wstrb), .csr__wvalid(csr__wvalid), .csr__wready(csr__wready),
        .csr__bresp(csr__bresp), .csr__bvalid(csr__bvalid), .csr__bready(csr__bready),
        .csr__araddr(csr__araddr), .csr__arprot(csr__arprot), .csr__arvalid(csr__arvalid), .csr__arready(csr__arready),
        .csr__rdata(csr__rdata), .csr__rresp(csr__rresp), .csr__rvalid(csr__rvalid), .csr__rready(csr__rready)
    );
endmodule
