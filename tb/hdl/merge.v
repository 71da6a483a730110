// Two sources of one stream, in turns while both have something; what is offered stays until it is taken. Simulation
// only.
module merge #(
    parameter BITS = 1
) (
    input clk,
    input rst,
    input [BITS-1:0] a_payload,
    input a_valid,
    output a_ready,
    input [BITS-1:0] b_payload,
    input b_valid,
    output b_ready,
    output [BITS-1:0] payload,
    output valid,
    input ready
);
    // The source that is offered and not taken yet, and whose turn it is: 1 for `b`.
    reg locked, chosen, turn;
    wire select = locked ? chosen : b_valid && (turn || !a_valid);
    assign payload = select ? b_payload : a_payload;
    assign valid = a_valid || b_valid;
    assign a_ready = ready && !select;
    assign b_ready = ready && select;

    always @(posedge clk) begin
        if (rst) begin
            locked <= 0;
            turn <= 1;
        end else begin
            locked <= valid && !ready;
            chosen <= select;
            if (valid && ready) turn <= !select;
        end
    end
endmodule
