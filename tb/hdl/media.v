// DDR5 behind an AXI4 port and flash behind page commands, with fixed latencies; simulation only. tb/agents/memory.py and
// tb/agents/flash.py are the same thing for the interactive form, clock for clock while nothing pauses.
//
// What is accepted in clock n is answered in clock n + latency (read_clocks, program_clocks) at the earliest. A read
// sees memory in the clock of its acceptance, a write changes it when its answer is offered; a page read fills its frame
// when its completion is offered, a program captures the frame in the clock of its acceptance.
// With `error_seed` some accesses fail, at random: what should have been read or written, the bytes with strobe of a
// line or all of a page, is garbage then. tb/agents/memory.py and tb/agents/flash.py do the same, by the choice of their test.
// State that only this block sees is assigned at once (`=`), outputs are registers (`<=`).
`include "layout.vh"

module media (
    input clk,
    input rst,
    input [31:0] clock,
    input [15:0] latency,
    input [31:0] read_clocks,
    input [31:0] program_clocks,
    // a channel accepts nothing, or offers nothing new, while its bit is set: ar, aw, w, r, b, command, done
    input [6:0] pause,
    // 0: no errors; else so many accesses of 65,536 fail: reads and writes of a line, reads and programs of a page
    input [31:0] error_seed,
    input [16:0] read_errors,
    input [16:0] write_errors,
    input [16:0] page_read_errors,
    input [16:0] page_write_errors,
    input [`MEM_ADDRESS_BITS-1:0] araddr,
    input [`MEM_ID_BITS-1:0] arid,
    input [7:0] arlen,
    input [2:0] arsize,
    input arvalid,
    output reg arready,
    input [`MEM_ADDRESS_BITS-1:0] awaddr,
    input [`MEM_ID_BITS-1:0] awid,
    input [7:0] awlen,
    input [2:0] awsize,
    input awvalid,
    output reg awready,
    input [511:0] wdata,
    input [63:0] wstrb,
    input wlast,
    input wvalid,
    output reg wready,
    output reg [`MEM_ID_BITS-1:0] rid,
    output reg [511:0] rdata,
    output reg [1:0] rresp,
    output reg rvalid,
    input rready,
    output reg [`MEM_ID_BITS-1:0] bid,
    output reg [1:0] bresp,
    output reg bvalid,
    input bready,
    input [`PAGE_COMMAND_BITS-1:0] command_payload,
    input command_valid,
    output reg command_ready,
    output reg [`PAGE_DONE_BITS-1:0] done_payload,
    output reg done_valid,
    input done_ready,
    // a page is on its way
    output reg busy,
    // 0, or the first of: 4 an AXI access that is not one line of memory, 5 a page tag in use, 6 a page read that was
    // never programmed
    output reg [3:0] error
);
    // Reads, and writes, accepted and not yet answered; a channel is closed while fewer than two places are left.
    localparam DEPTH = 128;
    localparam TAG_BITS = `PAGE_DONE_BITS - 1;
    localparam TAGS = 1 << TAG_BITS;

    reg [511:0] ddr [0:`MEMORY_LINES-1];
    reg [511:0] flash [0:`PAGES*`PAGE_LINES_MAX-1];
    reg programmed [0:`PAGES-1];

    reg [`MEM_ID_BITS-1:0] r_id [0:DEPTH-1];
    reg [511:0] r_data [0:DEPTH-1];
    reg [31:0] r_due [0:DEPTH-1];
    integer r_first, r_count;

    reg [`MEM_ID_BITS-1:0] w_id [0:DEPTH-1];
    integer w_line [0:DEPTH-1];
    reg [511:0] w_data [0:DEPTH-1];
    reg [63:0] w_strobe [0:DEPTH-1];
    reg [31:0] w_due [0:DEPTH-1];
    // Addresses, data and answers pass through the same places one after the other.
    integer w_first, addresses, beats;

    reg tag_busy [0:TAGS-1];
    reg tag_write [0:TAGS-1];
    reg tag_mode [0:TAGS-1];
    reg [31:0] tag_due [0:TAGS-1];
    integer tag_page [0:TAGS-1];
    integer tag_frame [0:TAGS-1];
    integer pages_open;

    integer place, i, page, frame, chosen;
    reg [TAG_BITS-1:0] tag;
    reg [511:0] word, left;
    reg paired, failed;
    `include "random.vh"

    task fail(input [3:0] code);
        if (error == 0) error <= code;
    endtask

    // Whether the next access fails, of which `share` of 65,536 do.
    task may_fail(input [16:0] share);
        begin
            draw(65536);
            failed = drawn < share;
        end
    endtask

    // DDR5 line of line `i` of a frame's page: data lines, then sidecar rows (golden/common/config.py, `frame_lines`).
    function integer frame_line(input mode, input integer frame, input integer i);
        if (mode) frame_line = i < `MXINT8_DATA_LINES ? `MXINT8_BASE + frame * `MXINT8_DATA_LINES + i
            : `SIDECAR_BASE + `MXINT8_ROW_BASE + 2 * frame + i - `MXINT8_DATA_LINES;
        else frame_line = i < `EXACT_DATA_LINES ? frame * `EXACT_DATA_LINES + i : `SIDECAR_BASE + frame;
    endfunction

    function integer page_lines(input mode);
        page_lines = mode ? `MXINT8_PAGE_LINES : `EXACT_PAGE_LINES;
    endfunction

    initial begin
        for (i = 0; i < `MEMORY_LINES; i = i + 1) ddr[i] = `POISON_LINE;
        for (i = 0; i < `PAGES; i = i + 1) programmed[i] = 0;
    end

    always @(posedge clk) begin
        if (rst) begin
            r_first = 0;
            r_count = 0;
            w_first = 0;
            addresses = 0;
            beats = 0;
            pages_open = 0;
            random = error_seed;
            for (i = 0; i < TAGS; i = i + 1) tag_busy[i] = 0;
            arready <= 0;
            awready <= 0;
            wready <= 0;
            command_ready <= 0;
            rvalid <= 0;
            bvalid <= 0;
            done_valid <= 0;
            busy <= 0;
            rresp <= `RESP_OKAY;
            bresp <= `RESP_OKAY;
            error <= 0;
        end else begin
            // What was accepted in this clock.
            if (arvalid && arready) begin
                if (arlen != 0 || arsize != `LINE_SIZE || araddr % (1 << `LINE_SIZE) != 0
                    || araddr >> `LINE_SIZE >= `MEMORY_LINES) fail(4);
                place = (r_first + r_count) % DEPTH;
                r_id[place] = arid;
                r_data[place] = ddr[araddr >> `LINE_SIZE];
                r_due[place] = clock + latency;
                r_count = r_count + 1;
            end
            paired = 0;
            if (awvalid && awready) begin
                if (awlen != 0 || awsize != `LINE_SIZE || awaddr % (1 << `LINE_SIZE) != 0
                    || awaddr >> `LINE_SIZE >= `MEMORY_LINES) fail(4);
                place = (w_first + addresses) % DEPTH;
                w_id[place] = awid;
                w_line[place] = awaddr >> `LINE_SIZE;
                w_due[place] = clock + latency;
                addresses = addresses + 1;
            end
            if (wvalid && wready) begin
                if (!wlast) fail(4);
                place = (w_first + beats) % DEPTH;
                w_data[place] = wdata;
                w_strobe[place] = wstrb;
                // The later of address and data counts.
                if (beats < addresses) w_due[place] = clock + latency;
                beats = beats + 1;
            end
            if (command_valid && command_ready) begin
                tag = command_payload[`PAGE_COMMAND_TAG];
                page = command_payload[`PAGE_COMMAND_PAGE];
                frame = command_payload[`PAGE_COMMAND_FRAME];
                if (tag_busy[tag]) fail(5);
                tag_busy[tag] = 1;
                tag_write[tag] = command_payload[`PAGE_COMMAND_WRITE];
                tag_mode[tag] = command_payload[`PAGE_COMMAND_MODE];
                tag_page[tag] = page;
                tag_frame[tag] = frame;
                tag_due[tag] = clock + (tag_write[tag] ? program_clocks : read_clocks);
                pages_open = pages_open + 1;
                if (tag_write[tag]) begin
                    for (i = 0; i < page_lines(tag_mode[tag]); i = i + 1)
                        flash[page * `PAGE_LINES_MAX + i] = ddr[frame_line(tag_mode[tag], frame, i)];
                    programmed[page] = 1;
                end else if (!programmed[page]) fail(6);
            end

            // What is offered in the next clock, `clock + 1`.
            if (!rvalid || rready) begin
                rvalid <= 0;
                if (r_count != 0 && r_due[r_first] <= clock + 1 && !pause[3]) begin
                    may_fail(read_errors);
                    rid <= r_id[r_first];
                    rdata <= failed ? `POISON_LINE : r_data[r_first];
                    rresp <= failed ? `RESP_SLVERR : `RESP_OKAY;
                    rvalid <= 1;
                    r_first = (r_first + 1) % DEPTH;
                    r_count = r_count - 1;
                end
            end
            if (!bvalid || bready) begin
                bvalid <= 0;
                if (addresses != 0 && beats != 0 && w_due[w_first] <= clock + 1 && !pause[4]) begin
                    may_fail(write_errors);
                    word = ddr[w_line[w_first]];
                    left = failed ? `POISON_LINE : w_data[w_first];
                    for (i = 0; i < 64; i = i + 1) if (w_strobe[w_first][i]) word[8*i +: 8] = left[8*i +: 8];
                    ddr[w_line[w_first]] = word;
                    bresp <= failed ? `RESP_SLVERR : `RESP_OKAY;
                    bid <= w_id[w_first];
                    bvalid <= 1;
                    w_first = (w_first + 1) % DEPTH;
                    addresses = addresses - 1;
                    beats = beats - 1;
                end
            end
            if (!done_valid || done_ready) begin
                done_valid <= 0;
                if (pages_open != 0 && !pause[6]) begin
                    chosen = -1;
                    for (i = 0; i < TAGS; i = i + 1)
                        if (tag_busy[i] && tag_due[i] <= clock + 1)
                            if (chosen < 0 || tag_due[i] < tag_due[chosen]) chosen = i;
                    if (chosen >= 0) begin
                        page = tag_page[chosen];
                        may_fail(tag_write[chosen] ? page_write_errors : page_read_errors);
                        for (i = 0; i < page_lines(tag_mode[chosen]); i = i + 1) begin
                            place = page * `PAGE_LINES_MAX + i;
                            if (failed && tag_write[chosen]) flash[place] = `POISON_LINE;
                            if (!tag_write[chosen])
                                ddr[frame_line(tag_mode[chosen], tag_frame[chosen], i)]
                                    = failed ? `POISON_LINE : flash[place];
                        end
                        tag_busy[chosen] = 0;
                        pages_open = pages_open - 1;
                        done_payload <= 0;
                        done_payload[`PAGE_DONE_TAG] <= chosen;
                        done_payload[`PAGE_DONE_FAILED] <= failed;
                        done_valid <= 1;
                    end
                end
            end
            arready <= r_count < DEPTH - 1 && !pause[0];
            awready <= addresses < DEPTH - 1 && !pause[1];
            wready <= beats < DEPTH - 1 && !pause[2];
            command_ready <= !pause[5];
            // Whatever is not answered yet, however long a port pauses.
            busy <= pages_open != 0 || r_count != 0 || addresses != 0 || beats != 0;
        end
    end
endmodule
