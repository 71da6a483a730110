// A stand-in for the endpoint in the bench's own tests: the endpoint's ports and some registers around `stand_in.vh`,
// which is loopback.vh or coherent.vh and drives all other outputs.
`include "layout.vh"

module endpoint (
    clk, rst, req__payload, req__valid, req__ready, rwd__payload, rwd__valid, rwd__ready, ndr__payload, ndr__valid,
    ndr__ready, drs__payload, drs__valid, drs__ready, bisnp__payload, bisnp__valid, bisnp__ready, birsp__payload,
    birsp__valid, birsp__ready, page_command__payload, page_command__valid, page_command__ready, page_done__payload,
    page_done__valid, page_done__ready, slot_record__payload, slot_record__valid, slot_record__ready,
    engine_record__payload, engine_record__valid, engine_record__ready, mem__awid, mem__awaddr, mem__awlen, mem__awsize,
    mem__awburst, mem__awvalid, mem__awready, mem__arid, mem__araddr, mem__arlen, mem__arsize, mem__arburst,
    mem__arvalid, mem__arready, mem__wdata, mem__wstrb, mem__wlast, mem__wvalid, mem__wready, mem__bid, mem__bresp,
    mem__bvalid, mem__bready, mem__rid, mem__rdata, mem__rresp, mem__rlast, mem__rvalid, mem__rready, csr__awaddr,
    csr__awprot, csr__awvalid, csr__awready, csr__wdata, csr__wstrb, csr__wvalid, csr__wready, csr__bresp, csr__bvalid,
    csr__bready, csr__araddr, csr__arprot, csr__arvalid, csr__arready, csr__rdata, csr__rresp, csr__rvalid, csr__rready
);
    input clk;
    input rst;
    input [`REQ_BITS-1:0] req__payload;
    input req__valid;
    output req__ready;
    input [`RWD_BITS-1:0] rwd__payload;
    input rwd__valid;
    output rwd__ready;
    output [`NDR_BITS-1:0] ndr__payload;
    output ndr__valid;
    input ndr__ready;
    output [`DRS_BITS-1:0] drs__payload;
    output drs__valid;
    input drs__ready;
    output [`BISNP_BITS-1:0] bisnp__payload;
    output bisnp__valid;
    input bisnp__ready;
    input [`BIRSP_BITS-1:0] birsp__payload;
    input birsp__valid;
    output birsp__ready;
    output [`PAGE_COMMAND_BITS-1:0] page_command__payload;
    output page_command__valid;
    input page_command__ready;
    input [`PAGE_DONE_BITS-1:0] page_done__payload;
    input page_done__valid;
    output page_done__ready;
    output [`SLOT_RECORD_BITS-1:0] slot_record__payload;
    output slot_record__valid;
    input slot_record__ready;
    output [`ENGINE_RECORD_BITS-1:0] engine_record__payload;
    output engine_record__valid;
    input engine_record__ready;
    output [`MEM_ID_BITS-1:0] mem__awid;
    output [`MEM_ADDRESS_BITS-1:0] mem__awaddr;
    output [7:0] mem__awlen;
    output [2:0] mem__awsize;
    output [1:0] mem__awburst;
    output mem__awvalid;
    input mem__awready;
    output [`MEM_ID_BITS-1:0] mem__arid;
    output [`MEM_ADDRESS_BITS-1:0] mem__araddr;
    output [7:0] mem__arlen;
    output [2:0] mem__arsize;
    output [1:0] mem__arburst;
    output mem__arvalid;
    input mem__arready;
    output [511:0] mem__wdata;
    output [63:0] mem__wstrb;
    output mem__wlast;
    output mem__wvalid;
    input mem__wready;
    input [`MEM_ID_BITS-1:0] mem__bid;
    input [1:0] mem__bresp;
    input mem__bvalid;
    output mem__bready;
    input [`MEM_ID_BITS-1:0] mem__rid;
    input [511:0] mem__rdata;
    input [1:0] mem__rresp;
    input mem__rlast;
    input mem__rvalid;
    output mem__rready;
    input [`CSR_ADDRESS_BITS-1:0] csr__awaddr;
    input [2:0] csr__awprot;
    input csr__awvalid;
    output csr__awready;
    input [31:0] csr__wdata;
    input [3:0] csr__wstrb;
    input csr__wvalid;
    output csr__wready;
    output [1:0] csr__bresp;
    output csr__bvalid;
    input csr__bready;
    input [`CSR_ADDRESS_BITS-1:0] csr__araddr;
    input [2:0] csr__arprot;
    input csr__arvalid;
    output csr__arready;
    output [31:0] csr__rdata;
    output [1:0] csr__rresp;
    output csr__rvalid;
    input csr__rready;

    // The rule to be broken on purpose, and the mode of pages.
    reg [3:0] fault;
    reg mode;

    `include "stand_in.vh"

    // Registers: 0x008 reads as 1 (the table is ready), 0x000 cannot be written, the others keep what is written; 0x06C
    // and 0x070 are `fault` and `mode`.
    reg [31:0] registers [0:(1 << `CSR_ADDRESS_BITS) / 4 - 1];
    reg csr__bvalid, csr__rvalid;
    reg [1:0] csr__bresp;
    reg [31:0] csr__rdata;
    assign csr__awready = csr__awvalid && csr__wvalid && !csr__bvalid;
    assign csr__wready = csr__awready;
    assign csr__arready = csr__arvalid && !csr__rvalid;
    assign csr__rresp = 0;
    always @(posedge clk) begin
        if (csr__bready) csr__bvalid <= 0;
        if (csr__rready) csr__rvalid <= 0;
        if (rst) begin
            csr__bvalid <= 0;
            csr__rvalid <= 0;
            fault <= 0;
            mode <= 0;
        end else begin
            if (csr__awready) begin
                if (csr__awaddr == 'h6c) fault <= csr__wdata;
                if (csr__awaddr == 'h70) mode <= csr__wdata;
                csr__bvalid <= 1;
                csr__bresp <= csr__awaddr == 0 ? 2 : 0;
                registers[csr__awaddr / 4] <= csr__wdata;
            end
            if (csr__arready) begin
                csr__rvalid <= 1;
                csr__rdata <= csr__araddr == 8 ? 1 : registers[csr__araddr / 4];
            end
        end
    end
endmodule
