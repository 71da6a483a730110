// Writes down what leaves the endpoint; simulation only. tb/recorded.py reads it.
//
// events.txt: one line a record, `S` (slot) or `E` (engine) and its payload, as they leave their lanes.
// messages.txt, in the order of clocks: `I`, the clock and the tag of a message that is offered for the first time; `N`
// (NDR) or `D` (DRS), the clock of a response, the clocks since its message was first offered, and the payload; without
// `with_data` only the payload's fields below the data.
//
// slots.txt, only with `with_clocks`: the clock of each slot record.
`include "layout.vh"

module recorder (
    input clk,
    input rst,
    input [31:0] clock,
    input with_data,
    input with_clocks,
    // nothing more will come: have the files complete
    input flush,
    input req_valid,
    input req_ready,
    input [15:0] req_tag,
    input rwd_valid,
    input rwd_ready,
    input [15:0] rwd_tag,
    input ndr_taken,
    input [`NDR_BITS-1:0] ndr_payload,
    input drs_taken,
    input [`DRS_BITS-1:0] drs_payload,
    input slot_taken,
    input [`SLOT_RECORD_BITS-1:0] slot_payload,
    input engine_taken,
    input [`ENGINE_RECORD_BITS-1:0] engine_payload,
    output reg [63:0] records
);
    localparam DRS_HEAD_BITS = `DRS_BITS - 512;

    integer events, messages, slots;
    reg opened;
    // A channel still offers what it offered in the clock before.
    reg req_again, rwd_again;
    reg [31:0] offered [0:65535];

    always @(posedge clk) begin
        if (rst) begin
            opened = 0;
            req_again <= 0;
            rwd_again <= 0;
            records <= 0;
        end else begin
            if (!opened) begin
                opened = 1;
                events = $fopen("events.txt", "w");
                messages = $fopen("messages.txt", "w");
                if (with_clocks) slots = $fopen("slots.txt", "w");
            end
            if (req_valid && !req_again) begin
                offered[req_tag] = clock;
                $fwrite(messages, "I %0d %0d\n", clock, req_tag);
            end
            if (rwd_valid && !rwd_again) begin
                offered[rwd_tag] = clock;
                $fwrite(messages, "I %0d %0d\n", clock, rwd_tag);
            end
            req_again <= req_valid && !req_ready;
            rwd_again <= rwd_valid && !rwd_ready;
            if (ndr_taken)
                $fwrite(messages, "N %0d %0d %h\n", clock, clock - offered[ndr_payload[`NDR_TAG]], ndr_payload);
            if (drs_taken) begin
                $fwrite(messages, "D %0d %0d ", clock, clock - offered[drs_payload[`DRS_TAG]]);
                if (with_data) $fwrite(messages, "%h\n", drs_payload);
                else $fwrite(messages, "%h\n", drs_payload[DRS_HEAD_BITS-1:0]);
            end
            if (slot_taken) $fwrite(events, "S %h\n", slot_payload);
            if (slot_taken && with_clocks) $fwrite(slots, "%0d\n", clock);
            if (engine_taken) $fwrite(events, "E %h\n", engine_payload);
            records <= records + slot_taken + engine_taken;
            if (flush) begin
                $fflush(events);
                $fflush(messages);
                if (with_clocks) $fflush(slots);
            end
        end
    end
endmodule
