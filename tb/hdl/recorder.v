// Writes down what leaves the endpoint; simulation only. tb/runs/recorded.py reads it.
//
// events.txt: one line a record, `S` (slot) or `E` (engine) and its payload, as they leave their lanes.
// messages.txt, in the order of clocks: `I`, the clock and the tag of a message that is offered for the first time; `N`
// (NDR) or `D` (DRS), the clock of a response, the clocks since its message was first offered, and the payload; without
// `with_data` only the payload's fields below the data. BIConflicts and their Acks are left out: they have the tags of
// requests.
//
// slots.txt, only with `with_clocks`: the clock of each slot record.
// trace.txt, only with `with_trace`, in the order of clocks: each message that is taken, its channel (`Q` Req, `W` RwD,
// `N` NDR, `D` DRS, `B` BISnp, `P` BIRsp), the clock and the payload without byte enables and data; and `S` or `E` with
// the clock of each record of the two lanes.
`include "layout.vh"

module recorder (
    input clk,
    input rst,
    input [31:0] clock,
    input with_data,
    input with_clocks,
    input with_trace,
    // messages of the caching hosts, whose tags have their highest bit set, are left out of messages.txt
    input with_hosts,
    // nothing more will come: have the files complete
    input flush,
    input req_valid,
    input req_ready,
    input [`REQ_BITS-1:0] req_payload,
    input rwd_valid,
    input rwd_ready,
    input [`RWD_BITS-1:0] rwd_payload,
    input bisnp_taken,
    input [`BISNP_BITS-1:0] bisnp_payload,
    input birsp_taken,
    input [`BIRSP_BITS-1:0] birsp_payload,
    input ndr_taken,
    input [`NDR_BITS-1:0] ndr_payload,
    input drs_taken,
    input [`DRS_BITS-1:0] drs_payload,
    input slot_taken,
    input [`SLOT_RECORD_BITS-1:0] slot_payload,
    input engine_taken,
    input [`ENGINE_RECORD_BITS-1:0] engine_payload,
    output reg [63:0] records,
    // requests that were held, and the clocks from their first record to the one that let them go, all and at most
    output reg [63:0] held,
    output reg [63:0] held_clocks,
    output reg [31:0] held_longest
);
    localparam DRS_HEAD_BITS = `DRS_BITS - 512, RWD_HEAD_BITS = `RWD_BITS - 512 - 64;

    integer events, messages, slots, trace;
    reg opened;
    // A channel still offers what it offered in the clock before.
    reg req_again, rwd_again;
    reg [31:0] offered [0:65535];
    // By tag: since when a request is held.
    reg is_held [0:65535];
    reg [31:0] held_since [0:65535];
    reg [4:0] outcome;
    integer i;

    wire [15:0] req_tag = req_payload[`REQ_TAG];
    wire [15:0] rwd_tag = rwd_payload[`RWD_TAG];
    wire [15:0] ndr_tag = ndr_payload[`NDR_TAG];
    wire [15:0] drs_tag = drs_payload[`DRS_TAG];
    wire is_conflict = rwd_payload[`RWD_OPCODE] == `RWD_OPCODE_BI_CONFLICT;
    wire is_ack = ndr_payload[`NDR_OPCODE] == `NDR_OPCODE_BI_CONFLICT_ACK;
    wire [15:0] slot_tag = slot_payload[`SLOT_RECORD_TAG];

    // A slot record of a Req: it is held, or is no longer.
    task follow;
        begin
            outcome = slot_payload[`SLOT_RECORD_OUTCOME];
            if (outcome == `OUTCOME_HELD_LINE || outcome == `OUTCOME_HELD_WAY || outcome == `OUTCOME_HELD_TABLE) begin
                if (!is_held[slot_tag]) begin
                    is_held[slot_tag] = 1;
                    held_since[slot_tag] = clock;
                    held <= held + 1;
                end
            end else if (is_held[slot_tag] && slot_payload[`SLOT_RECORD_ACCESS] != 0) begin
                is_held[slot_tag] = 0;
                held_clocks <= held_clocks + clock - held_since[slot_tag];
                if (clock - held_since[slot_tag] > held_longest) held_longest <= clock - held_since[slot_tag];
            end
        end
    endtask

    always @(posedge clk) begin
        if (rst) begin
            opened = 0;
            req_again <= 0;
            rwd_again <= 0;
            records <= 0;
            held <= 0;
            held_clocks <= 0;
            held_longest <= 0;
            for (i = 0; i < 65536; i = i + 1) is_held[i] = 0;
        end else begin
            if (!opened) begin
                opened = 1;
                events = $fopen("events.txt", "w");
                messages = $fopen("messages.txt", "w");
                if (with_clocks) slots = $fopen("slots.txt", "w");
                if (with_trace) trace = $fopen("trace.txt", "w");
            end
            if (req_valid && !req_again && !(with_hosts && req_tag[15])) begin
                offered[req_tag] = clock;
                $fwrite(messages, "I %0d %0d\n", clock, req_tag);
            end
            if (rwd_valid && !rwd_again && !is_conflict && !(with_hosts && rwd_tag[15])) begin
                offered[rwd_tag] = clock;
                $fwrite(messages, "I %0d %0d\n", clock, rwd_tag);
            end
            req_again <= req_valid && !req_ready;
            rwd_again <= rwd_valid && !rwd_ready;
            if (ndr_taken && !is_ack && !(with_hosts && ndr_tag[15]))
                $fwrite(messages, "N %0d %0d %h\n", clock, clock - offered[ndr_payload[`NDR_TAG]], ndr_payload);
            if (drs_taken && !(with_hosts && drs_tag[15])) begin
                $fwrite(messages, "D %0d %0d ", clock, clock - offered[drs_payload[`DRS_TAG]]);
                if (with_data) $fwrite(messages, "%h\n", drs_payload);
                else $fwrite(messages, "%h\n", drs_payload[DRS_HEAD_BITS-1:0]);
            end
            if (slot_taken) $fwrite(events, "S %h\n", slot_payload);
            if (slot_taken && with_clocks) $fwrite(slots, "%0d\n", clock);
            if (engine_taken) $fwrite(events, "E %h\n", engine_payload);
            if (slot_taken && !slot_payload[`SLOT_RECORD_RWD]) follow;
            if (with_trace) begin
                if (req_valid && req_ready) $fwrite(trace, "Q %0d %h\n", clock, req_payload);
                if (rwd_valid && rwd_ready) $fwrite(trace, "W %0d %h\n", clock, rwd_payload[RWD_HEAD_BITS-1:0]);
                if (ndr_taken) $fwrite(trace, "N %0d %h\n", clock, ndr_payload);
                if (drs_taken) $fwrite(trace, "D %0d %h\n", clock, drs_payload[DRS_HEAD_BITS-1:0]);
                if (bisnp_taken) $fwrite(trace, "B %0d %h\n", clock, bisnp_payload);
                if (birsp_taken) $fwrite(trace, "P %0d %h\n", clock, birsp_payload);
                if (slot_taken) $fwrite(trace, "S %0d\n", clock);
                if (engine_taken) $fwrite(trace, "E %0d\n", clock);
            end
            records <= records + slot_taken + engine_taken;
            if (flush) begin
                $fflush(events);
                $fflush(messages);
                if (with_clocks) $fflush(slots);
                if (with_trace) $fflush(trace);
            end
        end
    end
endmodule
