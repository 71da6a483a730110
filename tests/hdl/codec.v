// The codec at simulator speed: each line of codec.bin goes through a compressor, a decompressor and a compressor again,
// one a clock, and what each of them gives is compared with the file. Simulation only.
//
// A record of the file, most significant byte first: the line, its scale, its elements, the line that these read as.
`include "codec.vh"

module codec (
    input clk,
    input rst,
    input [31:0] lines,
    output reg done,
    // lines with a difference behind the compressor, the decompressor, and the second compressor
    output reg [31:0] compressed_wrong,
    output reg [31:0] read_wrong,
    output reg [31:0] again_wrong,
    // lines compared at all three places
    output reg [31:0] compared,
    // number of the first line with a difference
    output reg [31:0] first_wrong
);
    // Clocks from the one in which a line is read from the file to the one in which a result can be seen.
    localparam COMPRESSED = 1 + `COMPRESSOR_LATENCY;
    localparam READ = COMPRESSED + `DECOMPRESSOR_LATENCY;
    localparam AGAIN = READ + `COMPRESSOR_LATENCY;
    localparam DEPTH = 32;

    reg [511:0] line;
    wire [511:0] read_line;
    wire [7:0] scale, scale_again;
    wire [255:0] elements, elements_again;

    compressor compressor (.clk(clk), .rst(rst), .line(line), .scale(scale), .elements(elements));
    decompressor decompressor (.clk(clk), .rst(rst), .scale(scale), .elements(elements), .line(read_line));
    compressor again (.clk(clk), .rst(rst), .line(read_line), .scale(scale_again), .elements(elements_again));

    reg [1287:0] record;
    reg [263:0] compressed [0:DEPTH-1];
    reg [511:0] read [0:DEPTH-1];
    reg [31:0] clocks;
    integer file, got;
    reg opened, wrong;

    // Whether the result of a line is to be seen now, `after` clocks after it was read from the file.
    function due(input [31:0] after);
        due = clocks >= after && clocks - after < lines;
    endfunction

    function integer place(input [31:0] after);
        place = (clocks - after) % DEPTH;
    endfunction

    task mismatch(input [31:0] after);
        if (!wrong) begin
            wrong = 1;
            first_wrong <= clocks - after;
        end
    endtask

    always @(posedge clk) begin
        if (rst) begin
            opened = 0;
            wrong = 0;
            clocks = 0;
            done <= 0;
            compressed_wrong <= 0;
            read_wrong <= 0;
            again_wrong <= 0;
            compared <= 0;
            first_wrong <= 0;
        end else if (!done) begin
            if (!opened) begin
                opened = 1;
                file = $fopen("codec.bin", "rb");
            end
            if (due(AGAIN)) begin
                compared <= compared + 1;
                if ({scale_again, elements_again} !== compressed[place(AGAIN)]) begin
                    again_wrong <= again_wrong + 1;
                    mismatch(AGAIN);
                end
            end
            if (due(READ) && read_line !== read[place(READ)]) begin
                read_wrong <= read_wrong + 1;
                mismatch(READ);
            end
            if (due(COMPRESSED) && {scale, elements} !== compressed[place(COMPRESSED)]) begin
                compressed_wrong <= compressed_wrong + 1;
                mismatch(COMPRESSED);
            end
            if (clocks < lines) begin
                got = $fread(record, file);
                line <= record[776 +: 512];
                compressed[place(0)] = record[512 +: 264];
                read[place(0)] = record[0 +: 512];
            end
            clocks = clocks + 1;
            done <= clocks == lines + AGAIN;
        end
    end
endmodule
