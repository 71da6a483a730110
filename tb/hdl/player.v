// Plays a stimulus file at the host side of the endpoint; simulation only. tb/stimuli/stimulus.py has the
// rules, tb/agents/player.py is the same thing for the interactive form, clock for clock while nothing pauses. With
// `play_clocks` the file is played again and again, and for so many clocks only.
//
// In each clock: count what was answered, take operations until one has to wait, offer each channel's next message.
// State that only this block sees is assigned at once (`=`), outputs are registers (`<=`).
`include "channel.vh"
`include "layout.vh"

module player (
    input clk,
    input rst,
    input start,
    input [31:0] clock,
    input [31:0] play_clocks,
    input [15:0] max_reads,
    input [15:0] max_writes,
    // slow down on the load that responses say
    input throttle,
    // no new message is offered while set
    input req_pause,
    input rwd_pause,
    output reg [`REQ_BITS-1:0] req_payload,
    output reg req_valid,
    input req_ready,
    output reg [`RWD_BITS-1:0] rwd_payload,
    output reg rwd_valid,
    input rwd_ready,
    input ndr_taken,
    input [15:0] ndr_tag,
    input [1:0] ndr_load,
    input drs_taken,
    input [15:0] drs_tag,
    input [1:0] drs_load,
    input drs_nxm,
    // every message is answered and the file has ended
    output reg done,
    output reg outstanding,
    // the message that waits longest, while outstanding
    output reg [15:0] oldest,
    // clocks since it was offered, 0 before
    output reg [31:0] age,
    // the most clocks from an offer to the last response so far
    output reg [31:0] slowest,
    output reg [63:0] issued,
    output reg [63:0] answered,
    // responses by the load that they say, 64 bits a level
    output reg [255:0] loads,
    // Register writes of the host so far, the latest of which waits until `registers_written` is the same number.
    output reg [31:0] registers,
    output reg [31:0] register_address,
    output reg [31:0] register_data,
    input [31:0] registers_written,
    // 0, or the first of: 1 no file, 2 not a stimulus, 3 a response that is not due (tag in error_tag)
    output reg [3:0] error,
    output reg [15:0] error_tag
);
    integer file, got, rewound;
    reg opened, ended;

    // The operation at the front of the file.
    reg have;
    reg [3:0] op;
    reg [`ADDRESS_BITS-1:0] address;
    reg [63:0] be;
    reg [511:0] data;
    // a wait, and whether it has begun
    reg [31:0] wait_clocks, wait_end;
    reg in_wait;
    reg [31:0] register_writes;
    reg in_register;

    // Operations taken and not yet offered.
    reg [15:0] read_tag [0:`LOOKAHEAD-1];
    reg [`ADDRESS_BITS-1:0] read_address [0:`LOOKAHEAD-1];
    reg [3:0] read_op [0:`LOOKAHEAD-1];
    reg [15:0] write_tag [0:`LOOKAHEAD-1];
    reg [`ADDRESS_BITS-1:0] write_address [0:`LOOKAHEAD-1];
    reg [3:0] write_op [0:`LOOKAHEAD-1];
    reg [63:0] write_be [0:`LOOKAHEAD-1];
    reg [511:0] write_data [0:`LOOKAHEAD-1];
    integer read_first, reads_queued, write_first, writes_queued, place;

    // By tag: what is due, and whether it is a read.
    reg due [0:65535];
    reg is_read [0:65535];
    reg half [0:65535];
    reg offered [0:65535];
    reg [31:0] since [0:65535];
    reg [31:0] longest;
    // Two responses may complete in one clock.
    reg [63:0] answers;
    reg [15:0] next_tag;
    integer reads_open, writes_open;

    // The issue rate, the clocks since it last changed, the highest load since, and what each channel may still offer.
    integer rate, rate_clocks, req_credit, rwd_credit;
    reg loaded;
    reg [1:0] load;
    reg [255:0] load_counts;

    reg req_busy, rwd_busy, waiting;
    reg [`REQ_BITS-1:0] req_message;
    reg [`RWD_BITS-1:0] rwd_message;

    task fail(input [3:0] code, input [15:0] tag);
        if (error == 0) begin
            error <= code;
            error_tag <= tag;
        end
    endtask

    // A response: `data_too` for DRS, `alone` if nothing else belongs to it.
    task answer(input data_too, input alone, input [15:0] tag);
        if (!due[tag] || (data_too && !is_read[tag])) fail(3, tag);
        else if (is_read[tag] && !alone && !half[tag]) half[tag] = 1;
        else begin
            due[tag] = 0;
            answers = answers + 1;
            if (clock - since[tag] > longest) longest = clock - since[tag];
            if (is_read[tag]) reads_open = reads_open - 1;
            else writes_open = writes_open - 1;
        end
    endtask

    task report(input [1:0] level);
        begin
            load_counts[64 * level +: 64] = load_counts[64 * level +: 64] + 1;
            if (!loaded || level > load) load = level;
            loaded = 1;
        end
    endtask

    // A clock of the host's issue rate (tb/agents/throttle.py).
    task keep_rate;
        begin
            rate_clocks = rate_clocks + 1;
            if (rate_clocks == `RATE_INTERVAL) begin
                rate_clocks = 0;
                if (loaded) case (load)
                    `LOAD_LIGHT: rate = rate + (rate >> `RATE_UP_SHIFT);
                    `LOAD_MODERATE: rate = rate - (rate >> `RATE_DOWN_SHIFT);
                    `LOAD_SEVERE: rate = rate - (rate >> `RATE_FAR_DOWN_SHIFT);
                    default: ;
                endcase
                if (rate > `RATE_ONE) rate = `RATE_ONE;
                if (rate < `RATE_MIN) rate = `RATE_MIN;
                loaded = 0;
            end
            req_credit = req_credit + rate;
            if (req_credit > 2 * `RATE_ONE - 1) req_credit = 2 * `RATE_ONE - 1;
            rwd_credit = rwd_credit + rate;
            if (rwd_credit > 2 * `RATE_ONE - 1) rwd_credit = 2 * `RATE_ONE - 1;
        end
    endtask

    task fetch;
        begin
            got = $fscanf(file, "%h", op);
            case (op)
                `OP_READ, `OP_READ_SHARED: got = got + $fscanf(file, "%h", address) - 1;
                `OP_REGISTER: got = got + $fscanf(file, "%h %h", address, data) - 2;
                `OP_WAIT: got = got + $fscanf(file, "%h", wait_clocks) - 1;
                `OP_WRITE, `OP_WRITE_POISONED: got = got + $fscanf(file, "%h %h", address, data) - 2;
                `OP_WRITE_PARTIAL: got = got + $fscanf(file, "%h %h %h", address, be, data) - 3;
                `OP_FENCE_WRITES, `OP_FENCE_ALL, `OP_END: ;
                default: got = 0;
            endcase
            have = got == 1;
            if (!have) begin
                fail(2, 0);
                ended = 1;
            end
        end
    endtask

    task accept(input read);
        begin
            due[next_tag] = 1;
            is_read[next_tag] = read;
            half[next_tag] = 0;
            offered[next_tag] = 0;
            if (read) begin
                place = (read_first + reads_queued) % `LOOKAHEAD;
                read_tag[place] = next_tag;
                read_address[place] = address;
                read_op[place] = op;
                reads_queued = reads_queued + 1;
            end else begin
                place = (write_first + writes_queued) % `LOOKAHEAD;
                write_tag[place] = next_tag;
                write_address[place] = address;
                write_op[place] = op;
                write_be[place] = be;
                write_data[place] = data;
                writes_queued = writes_queued + 1;
            end
            next_tag = next_tag + 1;
        end
    endtask

    always @(posedge clk) begin
        if (rst) begin
            opened = 0;
            ended = 0;
            have = 0;
            in_wait = 0;
            register_writes = 0;
            in_register = 0;
            registers <= 0;
            read_first = 0;
            reads_queued = 0;
            write_first = 0;
            writes_queued = 0;
            next_tag = 0;
            reads_open = 0;
            writes_open = 0;
            req_valid <= 0;
            rwd_valid <= 0;
            done <= 0;
            outstanding <= 0;
            oldest <= 0;
            age <= 0;
            longest = 0;
            slowest <= 0;
            answers = 0;
            issued <= 0;
            answered <= 0;
            error <= 0;
            error_tag <= 0;
            load_counts = 0;
            loads <= 0;
            loaded = 0;
            rate = `RATE_ONE;
            rate_clocks = 0;
            req_credit = `RATE_ONE;
            rwd_credit = `RATE_ONE;
            for (place = 0; place < 65536; place = place + 1) due[place] = 0;
        end else begin
            `CHANNEL_STEP(req)
            `CHANNEL_STEP(rwd)
            if (ndr_taken) begin
                answer(0, 0, ndr_tag);
                report(ndr_load);
            end
            if (drs_taken) begin
                answer(1, drs_nxm, drs_tag);
                report(drs_load);
            end

            if (start && !opened) begin
                opened = 1;
                file = $fopen("stimulus.txt", "r");
                if (file == 0) begin
                    fail(1, 0);
                    ended = 1;
                end
            end
            if (opened && !ended && play_clocks != 0 && clock >= play_clocks) begin
                ended = 1;
                $fclose(file);
            end
            waiting = !opened;
            while (!waiting) begin
                if (!have && !ended) fetch;
                if (ended) waiting = 1;
                else case (op)
                    `OP_FENCE_WRITES: waiting = writes_queued != 0 || writes_open != 0;
                    `OP_FENCE_ALL:
                        waiting = writes_queued != 0 || writes_open != 0 || reads_queued != 0 || reads_open != 0;
                    `OP_REGISTER: begin
                        if (!in_register) begin
                            waiting = writes_queued != 0 || writes_open != 0 || reads_queued != 0 || reads_open != 0;
                            if (!waiting) begin
                                in_register = 1;
                                register_writes = register_writes + 1;
                                registers <= register_writes;
                                register_address <= address;
                                register_data <= data;
                            end
                        end
                        if (in_register) begin
                            waiting = registers_written != register_writes;
                            in_register = waiting;
                        end
                    end
                    `OP_WAIT: begin
                        if (!in_wait) wait_end = clock + wait_clocks;
                        waiting = clock != wait_end;
                        in_wait = waiting;
                    end
                    `OP_READ, `OP_READ_SHARED: if (reads_queued == `LOOKAHEAD) waiting = 1; else accept(1);
                    `OP_END: if (play_clocks != 0) rewound = $rewind(file);
                    else begin
                        ended = 1;
                        waiting = 1;
                        $fclose(file);
                    end
                    default: if (writes_queued == `LOOKAHEAD) waiting = 1; else accept(0);
                endcase
                if (!waiting) have = 0;
            end

            if (opened && throttle) keep_rate;
            if (reads_queued != 0 && !req_busy && reads_open < max_reads && !req_pause
                && (!throttle || req_credit >= `RATE_ONE))
            begin
                req_credit = req_credit - `RATE_ONE;
                req_message = read_op[read_first] == `OP_READ_SHARED ? `MESSAGE_READ_SHARED : `MESSAGE_READ;
                req_message[`REQ_TAG] = read_tag[read_first];
                req_message[`REQ_ADDRESS] = read_address[read_first];
                `CHANNEL_OFFER(req)
                offered[read_tag[read_first]] = 1;
                since[read_tag[read_first]] = clock + 1;
                read_first = (read_first + 1) % `LOOKAHEAD;
                reads_queued = reads_queued - 1;
                reads_open = reads_open + 1;
            end
            if (writes_queued != 0 && !rwd_busy && writes_open < max_writes && !rwd_pause
                && (!throttle || rwd_credit >= `RATE_ONE))
            begin
                rwd_credit = rwd_credit - `RATE_ONE;
                case (write_op[write_first])
                    `OP_WRITE_PARTIAL: rwd_message = `MESSAGE_WRITE_PARTIAL;
                    `OP_WRITE_POISONED: rwd_message = `MESSAGE_WRITE_POISONED;
                    default: rwd_message = `MESSAGE_WRITE;
                endcase
                if (write_op[write_first] == `OP_WRITE_PARTIAL) rwd_message[`RWD_BE] = write_be[write_first];
                rwd_message[`RWD_TAG] = write_tag[write_first];
                rwd_message[`RWD_ADDRESS] = write_address[write_first];
                rwd_message[`RWD_DATA] = write_data[write_first];
                `CHANNEL_OFFER(rwd)
                offered[write_tag[write_first]] = 1;
                since[write_tag[write_first]] = clock + 1;
                write_first = (write_first + 1) % `LOOKAHEAD;
                writes_queued = writes_queued - 1;
                writes_open = writes_open + 1;
            end

            place = oldest;
            while (place[15:0] != next_tag && !due[place[15:0]]) place = place + 1;
            oldest <= place[15:0];
            age <= place[15:0] != next_tag && offered[place[15:0]] ? clock + 1 - since[place[15:0]] : 0;
            slowest <= longest;
            answered <= answers;
            loads <= load_counts;
            outstanding <= reads_queued != 0 || reads_open != 0 || writes_queued != 0 || writes_open != 0;
            issued <= issued + (req_valid && req_ready) + (rwd_valid && rwd_ready);
            done <= ended && reads_queued == 0 && reads_open == 0 && writes_queued == 0 && writes_open == 0;
        end
    end
endmodule
