// Hosts that cache lines and race with the endpoint on purpose, at random; simulation only. tb/stimuli/caching.py has their
// actions, settings, counts and errors.
//
// A host has a MESI state for each line and at most one message of a line in flight. What memory must hold is known at
// every moment: each store makes a new version of its line, a line in M is of one host alone, and every read and every
// hit must find a version that was visible meanwhile; reads that let the host hold the line find the last one. Values
// of a line are FP16 numbers that mode mxint8 keeps exactly, the first six of them the version.
//
// A BISnp is seen some clocks after its arrival. Until then its lines may be asked for, which makes early conflicts;
// NDR takes its time as well, which makes late ones. A line that is seen to be snooped is left alone until it is
// answered: a Req that is pending for it has its BIConflict and waits for the Ack, after a late one for its completion;
// a line in M is written and that completed; then the line is given up as far as was asked, and the answer goes, line
// by line or in block form. In each clock one snoop, one new message, one cached line.
//
// State that only this block sees is assigned at once (`=`), outputs are registers (`<=`).
`include "channel.vh"
`include "layout.vh"

module caching_hosts (
    input clk,
    input rst,
    input start,
    input [31:0] clock,
    // settings, constant from `start` on; 0 requests: no hosts
    input [31:0] requests,
    input [`ADDRESS_BITS-1:0] base,
    input [15:0] blocks,
    input [7:0] lines,
    input [15:0] block_step,
    input [31:0] seed,
    input [7:0] in_flight,
    input [8:0] rate,
    input [8:0] races,
    input [8:0] near,
    input [15:0] snoop_min,
    input [15:0] snoop_max,
    input [15:0] link_max,
    input shared,
    input [8*`ACTIONS-1:0] shares,
    // no new message is offered while set
    input req_pause,
    input rwd_pause,
    input birsp_pause,
    output reg [`REQ_BITS-1:0] req_payload,
    output reg req_valid,
    input req_ready,
    output reg [`RWD_BITS-1:0] rwd_payload,
    output reg rwd_valid,
    input rwd_ready,
    input ndr_taken,
    input [`NDR_BITS-1:0] ndr_payload,
    input drs_taken,
    input [`DRS_BITS-1:0] drs_payload,
    input bisnp_taken,
    input [`BISNP_BITS-1:0] bisnp_payload,
    output reg [`BIRSP_BITS-1:0] birsp_payload,
    output reg birsp_valid,
    input birsp_ready,
    output reg done,
    output reg outstanding,
    // a message that has waited for `age` clocks; the most clocks that one took
    output reg [15:0] oldest,
    output reg [31:0] age,
    output reg [31:0] slowest,
    output [64*`HOST_COUNTS-1:0] counts,
    // BISnp that are not answered in full
    output reg [12:0] open_snoops,
    output reg [3:0] error,
    output reg [15:0] error_tag
);
    localparam HELD_I = 0, HELD_S = 1, HELD_E = 2, HELD_M = 3;
    // A snooped line's conflict: none, waits for the Ack, had it before the completion of its Req, or after it.
    localparam NONE = 0, ASKED = 1, EARLY = 2, LATE = 3;
    localparam TXS = 128, FREE = 127, VERSIONS = 8, LINK = 256;

    // By line and host; a line's number is {host, block in use, line}, without the host a place.
    reg [1:0] held [0:`HOSTS*`PLACES-1];
    reg [31:0] copy [0:`HOSTS*`PLACES-1];
    reg [7:0] open [0:`HOSTS*`PLACES-1];
    // A BISnp of it has arrived; it has been seen.
    reg asked [0:`HOSTS*`PLACES-1];
    reg snooped [0:`HOSTS*`PLACES-1];
    reg [31:0] version [0:`PLACES-1];
    reg [511:0] contents [0:`PLACES*VERSIONS-1];

    // Messages in flight, by the low bits of their tag. One that has its responses keeps its place for an Ack.
    reg tx_busy [0:TXS-1];
    reg tx_done [0:TXS-1];
    reg tx_host [0:TXS-1];
    integer tx_place [0:TXS-1];
    reg [3:0] tx_action [0:TXS-1];
    reg [15:0] tx_tag [0:TXS-1];
    reg [31:0] tx_since [0:TXS-1];
    // the version that was visible when it was issued
    reg [31:0] tx_version [0:TXS-1];
    reg tx_ndr [0:TXS-1];
    reg tx_drs [0:TXS-1];
    reg [511:0] tx_data [0:TXS-1];
    // the snooped line that waits for its Ack
    reg tx_conflict [0:TXS-1];
    // it had its Ack, and its line is not answered yet: it must not be granted
    reg tx_early [0:TXS-1];
    integer tx_snoop [0:TXS-1];
    integer txs, next_tx, aged;

    // Snoops, by BITag; their lines by {BITag, line}.
    reg snoop_busy [0:`SNOOPS-1];
    reg snoop_seen [0:`SNOOPS-1];
    reg snoop_host [0:`SNOOPS-1];
    reg snoop_block [0:`SNOOPS-1];
    reg snoop_whole [0:`SNOOPS-1];
    reg [1:0] snoop_kind [0:`SNOOPS-1];
    reg [3:0] snoop_lines [0:`SNOOPS-1];
    integer snoop_place [0:`SNOOPS-1];
    reg [31:0] snoop_due [0:`SNOOPS-1];
    reg [1:0] conflict [0:4*`SNOOPS-1];
    integer snoops, next_snoop;

    // NDR and DRS on their way.
    reg [`NDR_BITS-1:0] ndr_link [0:LINK-1];
    reg [`DRS_BITS-1:0] drs_link [0:LINK-1];
    reg [31:0] ndr_due [0:LINK-1];
    reg [31:0] drs_due [0:LINK-1];
    integer ndr_first, ndrs, drs_first, drss;

    // The next line to be asked for by way of a race.
    reg race;
    integer race_line, last;

    reg [31:0] issued, answered, taken;
    reg [63:0] count [0:`HOST_COUNTS-1];
    reg [31:0] longest;
    reg [7:0] generation;
    reg req_busy, rwd_busy, birsp_busy, failed;
    reg [`REQ_BITS-1:0] req_message;
    reg [`RWD_BITS-1:0] rwd_message;
    reg [`BIRSP_BITS-1:0] birsp_message;
    reg [`NDR_BITS-1:0] ndr;
    reg [`DRS_BITS-1:0] drs;
    reg [`BISNP_BITS-1:0] bisnp;
    reg [`ADDRESS_BITS-1:0] offset;
    reg [511:0] word;
    reg [31:0] enables;
    reg [63:0] bytes;
    reg [15:0] tag;
    reg [3:0] action, ready_lines, dirty_lines, answered_lines;
    reg [1:0] state, least;
    integer i, h, k, t, s, line, place, total, chosen, form;
    `include "random.vh"

    genvar n;
    generate for (n = 0; n < `HOST_COUNTS; n = n + 1) assign counts[64*n +: 64] = count[n]; endgenerate

    task fail(input [3:0] code, input [15:0] tag);
        if (!failed) begin
            // Several things may be wrong in one clock: the first is the cause.
            failed = 1;
            error <= code;
            error_tag <= tag;
        end
    endtask

    // Any line of any host: `k`. `latest`: often one of the sector that was picked so last.
    task pick(input latest);
        begin
            draw(`HOSTS);
            k = drawn * `PLACES;
            draw(256);
            if (!latest || drawn >= near) begin
                draw(blocks * lines);
                place = drawn;
            end else begin
                draw(4);
                place = last - last % 4 + drawn;
            end
            if (latest) last = place;
            k = k + place;
        end
    endtask

    // Data ------------------------------------------------------------------------------------------------------------

    // A line of version `number`: of each value sign and six bits of the fraction, of the first six no sign.
    task make(input [31:0] number);
        begin
            word = 0;
            for (i = 0; i < 5; i = i + 1) word[16*i +: 16] = {6'b001111, number[6*i +: 6], 4'b0};
            word[16*5 +: 16] = {10'b0011110000, number[31:30], 4'b0};
            for (i = 6; i < 32; i = i + 1) begin
                draw(128);
                word[16*i +: 16] = {drawn[6], 5'b01111, drawn[5:0], 4'b0};
            end
        end
    endtask

    function [31:0] version_of(input [511:0] data);
        begin
            version_of = 0;
            for (i = 0; i < 6; i = i + 1) version_of = version_of | data[16*i+4 +: 6] << 6 * i;
        end
    endfunction

    // The next version of a place, of which `be` says which values are new.
    task store(input integer where, input [31:0] be);
        begin
            make(version[where] + 1);
            for (i = 0; i < 32; i = i + 1)
                if (!be[i]) word[16*i +: 16] = contents[where*VERSIONS + version[where] % VERSIONS][16*i +: 16];
            version[where] = version[where] + 1;
            contents[where*VERSIONS + version[where] % VERSIONS] = word;
        end
    endtask

    // Read data of a place: of the last version, or of one since `least_version`.
    task check_data(input integer where, input [511:0] data, input exact, input [31:0] least_version, input [15:0] tag);
        begin
            count[`HOST_COUNT_FILLS] = count[`HOST_COUNT_FILLS] + 1;
            enables = version_of(data);
            if (exact) begin
                if (data != contents[where*VERSIONS + version[where] % VERSIONS]) fail(8, tag);
            end else if (enables < least_version || enables > version[where]) fail(8, tag);
            else if (version[where] - enables < VERSIONS && data != contents[where*VERSIONS + enables % VERSIONS])
                fail(8, tag);
        end
    endtask

    // Hosts that hold a place as they may not beside a host that holds it in `mine`.
    task check_others(input integer where, input integer host, input [1:0] mine, input [15:0] tag);
        for (h = 0; h < `HOSTS; h = h + 1) if (h != host) begin
            state = held[h*`PLACES + where];
            if (mine >= HELD_E ? state != HELD_I : mine == HELD_S && state >= HELD_E) fail(12, tag);
        end
    endtask

    // Messages --------------------------------------------------------------------------------------------------------

    function is_write(input [3:0] action);
        is_write = action >= `ACTION_WRITE && action <= `ACTION_WRITE_KEEP;
    endfunction

    function is_read(input [3:0] action);
        is_read = action <= `ACTION_READ_OWN;
    endfunction

    function [`ADDRESS_BITS-1:0] address_of(input integer where);
        address_of = base + where / lines * block_step * `LINES_PER_BLOCK + where % lines;
    endfunction

    // Find a place for a message in flight: `t`, or TXS.
    task find_tx(input integer limit);
        begin
            t = TXS;
            if (txs < limit) begin
                while (tx_busy[next_tx]) next_tx = (next_tx + 1) % FREE;
                t = next_tx;
                next_tx = (next_tx + 1) % FREE;
            end
        end
    endtask

    // Issue `what` for line `number`; its channel is free. Nothing happens beyond `limit` messages in flight.
    task issue(input [3:0] what, input integer number, input integer limit);
        begin
            find_tx(limit);
            if (t != TXS) begin
                h = number / `PLACES;
                place = number % `PLACES;
                generation = generation + 1;
                tx_busy[t] = 1;
                tx_done[t] = 0;
                tx_host[t] = h;
                tx_place[t] = place;
                tx_action[t] = what;
                tx_tag[t] = {1'b1, generation, t[6:0]};
                tx_since[t] = clock + 1;
                tx_version[t] = version[place];
                tx_ndr[t] = 0;
                tx_drs[t] = 0;
                tx_conflict[t] = 0;
                tx_early[t] = 0;
                open[number] = t + 1;
                txs = txs + 1;
                issued = issued + 1;
                enables = ~0;
                case (what)
                    `ACTION_FLUSH, `ACTION_FLUSH_NT, `ACTION_FORGET, `ACTION_WRITE_BACK: held[number] = HELD_I;
                    `ACTION_WRITE_KEEP: held[number] = HELD_E;
                    `ACTION_WRITE: if (!shared) store(place, enables);
                    `ACTION_WRITE_PARTIAL: begin
                        draw(65536);
                        enables = drawn << 16;
                        draw(65536);
                        enables = enables | drawn | 6'b111111;
                        if (!shared) store(place, enables);
                    end
                    default: ;
                endcase
                if (is_write(what)) begin
                    case (what)
                        `ACTION_WRITE: rwd_message = `ACTION_MESSAGE_WRITE;
                        `ACTION_WRITE_PARTIAL: rwd_message = `ACTION_MESSAGE_WRITE_PARTIAL;
                        `ACTION_WRITE_BACK: rwd_message = `ACTION_MESSAGE_WRITE_BACK;
                        default: rwd_message = `ACTION_MESSAGE_WRITE_KEEP;
                    endcase
                    rwd_message[`RWD_TAG] = tx_tag[t];
                    rwd_message[`RWD_LD_ID] = h;
                    rwd_message[`RWD_ADDRESS] = address_of(place);
                    // What is refused must not be seen by anyone.
                    rwd_message[`RWD_DATA] = shared && what <= `ACTION_WRITE_PARTIAL ? ~512'b0
                        : contents[place*VERSIONS + version[place] % VERSIONS];
                    if (what == `ACTION_WRITE_PARTIAL) begin
                        for (i = 0; i < 64; i = i + 1) bytes[i] = enables[i/2];
                        rwd_message[`RWD_BE] = bytes;
                    end
                    `CHANNEL_OFFER(rwd)
                end else begin
                    case (what)
                        `ACTION_READ_CURRENT: req_message = `ACTION_MESSAGE_READ_CURRENT;
                        `ACTION_READ_INVALIDATE: req_message = `ACTION_MESSAGE_READ_INVALIDATE;
                        `ACTION_READ_SHARED: req_message = `ACTION_MESSAGE_READ_SHARED;
                        `ACTION_READ_DATA: req_message = `ACTION_MESSAGE_READ_DATA;
                        `ACTION_READ_OWN: req_message = `ACTION_MESSAGE_READ_OWN;
                        `ACTION_OWN: req_message = `ACTION_MESSAGE_OWN;
                        `ACTION_OWN_NT: req_message = `ACTION_MESSAGE_OWN_NT;
                        `ACTION_FLUSH: req_message = `ACTION_MESSAGE_FLUSH;
                        `ACTION_FLUSH_NT: req_message = `ACTION_MESSAGE_FLUSH_NT;
                        default: req_message = `ACTION_MESSAGE_FORGET;
                    endcase
                    req_message[`REQ_TAG] = tx_tag[t];
                    req_message[`REQ_LD_ID] = h;
                    req_message[`REQ_ADDRESS] = address_of(place);
                    `CHANNEL_OFFER(req)
                end
            end
        end
    endtask

    task speculate(input integer number);
        begin
            req_message = `ACTION_MESSAGE_SPECULATE;
            // The place of no message in flight.
            req_message[`REQ_TAG] = {1'b1, 8'b0, 7'd127};
            req_message[`REQ_LD_ID] = number / `PLACES;
            req_message[`REQ_ADDRESS] = address_of(number % `PLACES);
            `CHANNEL_OFFER(req)
        end
    endtask

    // A new message for line `number`, if its state and the channels let one go. `reads`: a Req that asks for the line.
    task propose(input integer number, input reads);
        if (!snooped[number] && open[number] == 0) begin
            state = held[number];
            if (reads) begin
                draw(4);
                action = drawn == 0 ? `ACTION_READ_SHARED : drawn == 1 ? `ACTION_READ_DATA : `ACTION_READ_OWN;
            end else begin
                total = 0;
                for (i = 0; i < `ACTIONS; i = i + 1) total = total + shares[8*i +: 8];
                draw(total);
                chosen = drawn;
                action = 0;
                for (i = 0; i < `ACTIONS; i = i + 1) begin
                    if (chosen >= 0 && chosen < shares[8*i +: 8]) action = i;
                    chosen = chosen - shares[8*i +: 8];
                end
            end
            if (state == HELD_M && !is_write(action) && action != `ACTION_SPECULATE) begin
                // An owner of dirty data asks for nothing; now and then it writes instead.
                draw(16);
                action = drawn == 0 ? `ACTION_WRITE_BACK : drawn == 1 ? `ACTION_WRITE_KEEP : `ACTION_DROP;
            end
            case (action)
                `ACTION_WRITE_BACK, `ACTION_WRITE_KEEP:
                    if (state == HELD_M && !rwd_busy && !rwd_pause) issue(action, number, in_flight);
                `ACTION_WRITE, `ACTION_WRITE_PARTIAL: if (state != HELD_M && !rwd_busy && !rwd_pause) begin
                    held[number] = HELD_I;
                    issue(action, number, in_flight);
                end
                `ACTION_SPECULATE: if (!req_busy && !req_pause) speculate(number);
                `ACTION_DROP: if (state != HELD_M) held[number] = HELD_I;
                `ACTION_FORGET:
                    if ((state == HELD_S || state == HELD_E) && !req_busy && !req_pause)
                        issue(action, number, in_flight);
                default: if (state != HELD_M && !req_busy && !req_pause) begin
                    if (state == HELD_E && (action == `ACTION_READ_SHARED || action == `ACTION_READ_DATA))
                        held[number] = HELD_I;
                    issue(action, number, in_flight);
                end
            endcase
        end
    endtask

    // Responses -------------------------------------------------------------------------------------------------------

    task end_tx;
        if (tx_done[t] && !tx_conflict[t]) begin
            tx_busy[t] = 0;
            txs = txs - 1;
        end
    endtask

    // Message `t` has all of its responses.
    task complete;
        begin
            h = tx_host[t];
            place = tx_place[t];
            k = h * `PLACES + place;
            open[k] = 0;
            answered = answered + 1;
            tx_done[t] = 1;
            if (clock - tx_since[t] > longest) longest = clock - tx_since[t];
            action = tx_action[t];
            if (is_read(action))
                check_data(place, tx_data[t], action >= `ACTION_READ_SHARED, tx_version[t], tx_tag[t]);
            case (action)
                `ACTION_READ_SHARED, `ACTION_READ_DATA, `ACTION_READ_OWN: begin
                    check_others(place, h, held[k], tx_tag[t]);
                    copy[k] = version[place];
                    draw(2);
                    if (held[k] == HELD_E && drawn == 1) begin
                        store(place, ~0);
                        copy[k] = version[place];
                        held[k] = HELD_M;
                    end
                end
                `ACTION_OWN, `ACTION_OWN_NT: begin
                    check_others(place, h, HELD_E, tx_tag[t]);
                    store(place, ~0);
                    copy[k] = version[place];
                    held[k] = HELD_M;
                end
                default: ;
            endcase
            end_tx;
        end
    endtask

    // The message of a response: `t`, or TXS if none is in flight.
    task find_response(input [15:0] tag, input [3:0] ld_id);
        begin
            t = tag[6:0];
            if (!tx_busy[t] || tx_tag[t] != tag || tx_host[t] != ld_id) begin
                fail(7, tag);
                t = TXS;
            end
        end
    endtask

    task take_ack;
        if (!tx_conflict[t]) fail(14, tx_tag[t]);
        else begin
            tx_conflict[t] = 0;
            conflict[tx_snoop[t]] = tx_ndr[t] ? LATE : EARLY;
            tx_early[t] = !tx_ndr[t];
            if (tx_ndr[t]) count[`HOST_COUNT_LATE] = count[`HOST_COUNT_LATE] + 1;
            else count[`HOST_COUNT_EARLY] = count[`HOST_COUNT_EARLY] + 1;
            end_tx;
        end
    endtask

    // The Cmp of `t`; a state that the host gets with it is noted, though the data may be still to come.
    task take_completion(input [2:0] opcode);
        begin
            k = tx_host[t] * `PLACES + tx_place[t];
            if (tx_ndr[t]) fail(7, tx_tag[t]);
            if (tx_early[t]) fail(13, tx_tag[t]);
            tx_ndr[t] = 1;
            case (tx_action[t])
                `ACTION_READ_SHARED, `ACTION_READ_DATA: begin
                    if (opcode != `NDR_OPCODE_CMP_S && opcode != `NDR_OPCODE_CMP_E) fail(9, tx_tag[t]);
                    held[k] = opcode == `NDR_OPCODE_CMP_E ? HELD_E : HELD_S;
                end
                `ACTION_READ_OWN, `ACTION_OWN, `ACTION_OWN_NT: begin
                    if (opcode != `NDR_OPCODE_CMP_E) fail(9, tx_tag[t]);
                    held[k] = HELD_E;
                end
                default: if (opcode != `NDR_OPCODE_CMP) fail(9, tx_tag[t]);
            endcase
            if (tx_drs[t] || !is_read(tx_action[t])) complete;
        end
    endtask

    task take_data(input bad);
        begin
            if (tx_drs[t] || !is_read(tx_action[t])) fail(7, tx_tag[t]);
            if (bad) fail(9, tx_tag[t]);
            tx_drs[t] = 1;
            tx_data[t] = drs[`DRS_DATA];
            if (tx_ndr[t]) complete;
        end
    endtask

    // Snoops ----------------------------------------------------------------------------------------------------------

    task arrive;
        begin
            s = bisnp[`BISNP_BI_TAG];
            h = bisnp[`BISNP_BI_ID];
            offset = bisnp[`BISNP_ADDRESS] - base;
            form = bisnp[`BISNP_OPCODE];
            place = offset / (block_step * `LINES_PER_BLOCK) * lines + offset % (block_step * `LINES_PER_BLOCK);
            if (s >= `SNOOPS || h >= `HOSTS || form % `BISNP_BLOCK > `BISNP_OPCODE_INV
                || form > `BISNP_BLOCK + `BISNP_OPCODE_INV || offset % (block_step * `LINES_PER_BLOCK) >= lines
                || place >= blocks * lines || (form >= `BISNP_BLOCK && place % 4 == 0)) fail(10, s);
            else if (snoop_busy[s]) fail(11, s);
            else begin
                snoop_busy[s] = 1;
                snoop_seen[s] = 0;
                snoop_host[s] = h;
                snoop_block[s] = form >= `BISNP_BLOCK;
                draw(2);
                snoop_whole[s] = drawn;
                snoop_kind[s] = form % `BISNP_BLOCK;
                snoop_place[s] = place - place % 4;
                case (place % 4)
                    1: snoop_lines[s] = 4'b0011;
                    2: snoop_lines[s] = 4'b1100;
                    default: snoop_lines[s] = 4'b1111;
                endcase
                if (!snoop_block[s]) snoop_lines[s] = 1 << place % 4;
                draw(snoop_max - snoop_min + 1);
                snoop_due[s] = clock + snoop_min + drawn;
                snoops = snoops + 1;
                i = `HOST_COUNT_CUR_1 + 3 * snoop_kind[s];
                if (snoop_block[s]) i = i + (place % 4 == 3 ? 2 : 1);
                count[i] = count[i] + 1;
                for (line = 0; line < 4; line = line + 1) begin
                    k = h * `PLACES + snoop_place[s] + line;
                    conflict[4*s + line] = NONE;
                    if (snoop_lines[s][line]) begin
                        if (asked[k]) fail(11, s);
                        asked[k] = 1;
                    end
                end
                draw(256);
                if (drawn < races) begin
                    draw(4);
                    race = 1;
                    race_line = h * `PLACES + snoop_place[s] + drawn;
                end
            end
        end
    endtask

    // The state that a line in `from` keeps after snoop `s`: at random, as far as its kind lets it.
    task keep(input [1:0] from);
        begin
            state = HELD_I;
            draw(2);
            if (snoop_kind[s] != `BISNP_OPCODE_INV && from >= HELD_S && drawn == 1) state = HELD_S;
            draw(2);
            if (snoop_kind[s] == `BISNP_OPCODE_CUR && from == HELD_E && drawn == 1) state = HELD_E;
        end
    endtask

    // BIRsp of snoop `s` for `answered_lines`, which are in `state` from now on.
    task answer;
        begin
            chosen = 0;
            for (line = 0; line < 4; line = line + 1) if (answered_lines[line]) begin
                k = snoop_host[s] * `PLACES + snoop_place[s] + line;
                held[k] = state;
                asked[k] = 0;
                snooped[k] = 0;
                if (open[k] != 0) tx_early[open[k]-1] = 0;
                chosen = line;
            end
            birsp_message = 0;
            birsp_message[`BIRSP_OPCODE] = state == HELD_E ? `BIRSP_OPCODE_E : state == HELD_S ? `BIRSP_OPCODE_S
                : `BIRSP_OPCODE_I;
            if (snoop_block[s] && snoop_whole[s])
                birsp_message[`BIRSP_OPCODE] = birsp_message[`BIRSP_OPCODE] + `BISNP_BLOCK;
            birsp_message[`BIRSP_BI_ID] = snoop_host[s];
            birsp_message[`BIRSP_BI_TAG] = s;
            birsp_message[`BIRSP_LOW_ADDR] = snoop_block[s] && snoop_whole[s] ? random[1:0] : chosen;
            `CHANNEL_OFFER(birsp)
            i = snoop_block[s] && snoop_whole[s] ? `HOST_COUNT_BLOCK_ANSWERS : `HOST_COUNT_LINE_ANSWERS;
            count[i] = count[i] + 1;
            snoop_lines[s] = snoop_lines[s] & ~answered_lines;
            if (snoop_lines[s] == 0) begin
                snoop_busy[s] = 0;
                snoops = snoops - 1;
            end
        end
    endtask

    // What can be done for snoop `s` in this clock.
    task work;
        begin
            if (!snoop_seen[s]) begin
                snoop_seen[s] = 1;
                for (line = 0; line < 4; line = line + 1) if (snoop_lines[s][line])
                    snooped[snoop_host[s] * `PLACES + snoop_place[s] + line] = 1;
            end
            // Of the lines that nothing is pending for, those in M are to be written first.
            ready_lines = 0;
            dirty_lines = 0;
            for (line = 0; line < 4; line = line + 1) if (snoop_lines[s][line]) begin
                k = snoop_host[s] * `PLACES + snoop_place[s] + line;
                if (open[k] == 0 ? conflict[4*s + line] != ASKED : conflict[4*s + line] == EARLY) begin
                    if (held[k] == HELD_M) dirty_lines[line] = 1;
                    else ready_lines[line] = 1;
                end
                t = open[k] - 1;
                if (open[k] != 0 && conflict[4*s + line] == NONE && !is_write(tx_action[t]) && !rwd_busy) begin
                    rwd_message = 0;
                    rwd_message[`RWD_OPCODE] = `RWD_OPCODE_BI_CONFLICT;
                    rwd_message[`RWD_TAG] = tx_tag[t];
                    rwd_message[`RWD_LD_ID] = snoop_host[s];
                    rwd_message[`RWD_ADDRESS] = address_of(snoop_place[s] + line);
                    `CHANNEL_OFFER(rwd)
                    tx_conflict[t] = 1;
                    tx_snoop[t] = 4 * s + line;
                    conflict[4*s + line] = ASKED;
                end
            end
            if (dirty_lines != 0) begin
                // Requests may be waiting for this answer: it needs no place among them.
                if (!rwd_busy && txs < FREE) begin
                    line = 0;
                    while (!dirty_lines[line]) line = line + 1;
                    count[`HOST_COUNT_FLUSHED] = count[`HOST_COUNT_FLUSHED] + 1;
                    draw(2);
                    issue(drawn ? `ACTION_WRITE_BACK : `ACTION_WRITE_KEEP,
                        snoop_host[s] * `PLACES + snoop_place[s] + line, FREE);
                end
            end else if (!birsp_busy && !birsp_pause && ready_lines != 0) begin
                if (!snoop_whole[s] || !snoop_block[s]) begin
                    draw(4);
                    line = drawn;
                    while (!ready_lines[line]) line = (line + 1) % 4;
                    answered_lines = 1 << line;
                    k = snoop_host[s] * `PLACES + snoop_place[s] + line;
                    keep(held[k]);
                    answer;
                end else if (ready_lines == snoop_lines[s]) begin
                    // All of them end in one state.
                    least = HELD_E;
                    for (line = 0; line < 4; line = line + 1) if (snoop_lines[s][line]) begin
                        k = snoop_host[s] * `PLACES + snoop_place[s] + line;
                        if (held[k] < least) least = held[k];
                    end
                    answered_lines = snoop_lines[s];
                    keep(least);
                    answer;
                end
            end
        end
    endtask

    always @(posedge clk) begin
        if (rst) begin
            for (i = 0; i < `HOSTS * `PLACES; i = i + 1) begin
                held[i] = HELD_I;
                open[i] = 0;
                asked[i] = 0;
                snooped[i] = 0;
            end
            for (i = 0; i < `PLACES; i = i + 1) begin
                version[i] = 0;
                contents[i*VERSIONS] = 0;
            end
            for (i = 0; i < TXS; i = i + 1) begin
                tx_busy[i] = 0;
                tx_tag[i] = 0;
            end
            for (i = 0; i < `SNOOPS; i = i + 1) snoop_busy[i] = 0;
            for (i = 0; i < `HOST_COUNTS; i = i + 1) count[i] = 0;
            txs = 0;
            next_tx = 0;
            aged = 0;
            snoops = 0;
            next_snoop = 0;
            ndr_first = 0;
            ndrs = 0;
            drs_first = 0;
            drss = 0;
            race = 0;
            last = 0;
            issued = 0;
            answered = 0;
            longest = 0;
            random = seed;
            generation = 0;
            failed = 0;
            req_valid <= 0;
            rwd_valid <= 0;
            birsp_valid <= 0;
            // A payload that is not valid must not be unknown either: the endpoint's shifts would spread it.
            birsp_payload <= 0;
            done <= 0;
            outstanding <= 0;
            oldest <= 0;
            age <= 0;
            slowest <= 0;
            open_snoops <= 0;
            error <= 0;
            error_tag <= 0;
        end else if (requests == 0) done <= start;
        else begin
            `CHANNEL_STEP(req)
            `CHANNEL_STEP(rwd)
            `CHANNEL_STEP(birsp)

            if (bisnp_taken) begin
                bisnp = bisnp_payload;
                arrive;
            end
            // The other tags are the player's.
            ndr = ndr_payload;
            tag = ndr[`NDR_TAG];
            if (ndr_taken && tag[15]) begin
                i = (ndr_first + ndrs) % LINK;
                ndr_link[i] = ndr;
                draw(link_max + 1);
                ndr_due[i] = clock + drawn;
                ndrs = ndrs + 1;
            end
            drs = drs_payload;
            tag = drs[`DRS_TAG];
            if (drs_taken && tag[15]) begin
                i = (drs_first + drss) % LINK;
                drs_link[i] = drs;
                draw(link_max + 1);
                drs_due[i] = clock + drawn;
                drss = drss + 1;
            end
            if (ndrs != 0 && ndr_due[ndr_first] <= clock) begin
                ndr = ndr_link[ndr_first];
                ndr_first = (ndr_first + 1) % LINK;
                ndrs = ndrs - 1;
                find_response(ndr[`NDR_TAG], ndr[`NDR_LD_ID]);
                if (t != TXS) begin
                    if (ndr[`NDR_OPCODE] == `NDR_OPCODE_BI_CONFLICT_ACK) take_ack;
                    else take_completion(ndr[`NDR_OPCODE]);
                end
            end
            if (drss != 0 && drs_due[drs_first] <= clock) begin
                drs = drs_link[drs_first];
                drs_first = (drs_first + 1) % LINK;
                drss = drss - 1;
                find_response(drs[`DRS_TAG], drs[`DRS_LD_ID]);
                if (t != TXS) take_data(drs[`DRS_OPCODE] == `DRS_OPCODE_NXM || drs[`DRS_POISON]);
            end

            // The next snoop whose time has come.
            if (snoops != 0) begin
                chosen = -1;
                for (i = 0; i < `SNOOPS; i = i + 1) begin
                    s = (next_snoop + i) % `SNOOPS;
                    if (chosen < 0 && snoop_busy[s]) if (snoop_due[s] <= clock) chosen = s;
                end
                if (chosen >= 0) begin
                    s = chosen;
                    next_snoop = (s + 1) % `SNOOPS;
                    work;
                end
            end

            draw(256);
            if (start && issued < requests && drawn < rate) begin
                pick(1);
                if (race) propose(race_line, 1);
                else propose(k, 0);
                race = 0;
            end

            // A cached line is used.
            pick(0);
            if (open[k] == 0 && held[k] != HELD_I) begin
                count[`HOST_COUNT_HITS] = count[`HOST_COUNT_HITS] + 1;
                place = k % `PLACES;
                if (copy[k] != version[place]) fail(8, 0);
                draw(2);
                if (held[k] >= HELD_E && !snooped[k] && drawn == 1) begin
                    check_others(place, k / `PLACES, HELD_M, 0);
                    store(place, ~0);
                    copy[k] = version[place];
                    held[k] = HELD_M;
                end
            end

            aged = (aged + 1) % TXS;
            age <= tx_busy[aged] ? clock + 1 - tx_since[aged] : 0;
            oldest <= tx_tag[aged];
            slowest <= longest;
            count[`HOST_COUNT_ISSUED] = issued;
            count[`HOST_COUNT_ANSWERED] = answered;
            open_snoops <= snoops;
            outstanding <= txs != 0 || snoops != 0;
            done <= start && issued >= requests && txs == 0 && snoops == 0;
        end
    end
endmodule
