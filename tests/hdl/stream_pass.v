// A register on a stream, one transaction a clock: what the bus kit's own tests run against.
module stream_pass (
    input clk,
    input rst,
    input [39:0] i__payload,
    input i__valid,
    output i__ready,
    output reg [39:0] o__payload,
    output reg o__valid,
    input o__ready
);
    assign i__ready = !rst && (!o__valid || o__ready);
    always @(posedge clk) begin
        if (rst) o__valid <= 0;
        else if (i__ready) begin
            o__valid <= i__valid;
            o__payload <= i__payload;
        end
    end
endmodule
