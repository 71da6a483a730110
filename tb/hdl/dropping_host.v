// The player's side of back-invalidation: a host that has dropped every line silently; simulation only. It answers each
// BISnp with BIRspI, in block form where it was asked so, `snoop_clocks` after its arrival, in order. For each Req of
// the player that is pending for a snooped line when the BISnp arrives, BIConflict goes first and its Ack is waited
// for.
//
// State that only this block sees is assigned at once (`=`), outputs are registers (`<=`).
`include "channel.vh"
`include "layout.vh"

module dropping_host (
    input clk,
    input rst,
    input [31:0] clock,
    input [15:0] snoop_clocks,
    // what the player offers, and what it is answered
    input [`REQ_BITS-1:0] req_payload,
    input req_valid,
    input req_ready,
    input ndr_taken,
    input [`NDR_BITS-1:0] ndr_payload,
    input drs_taken,
    input [`DRS_BITS-1:0] drs_payload,
    input bisnp_taken,
    input [`BISNP_BITS-1:0] bisnp_payload,
    output reg [`RWD_BITS-1:0] rwd_payload,
    output reg rwd_valid,
    input rwd_ready,
    output reg [`BIRSP_BITS-1:0] birsp_payload,
    output reg birsp_valid,
    input birsp_ready,
    output reg done,
    // BISnp that are not answered
    output reg [12:0] open_snoops,
    output reg [63:0] early,
    output reg [63:0] late,
    // 0, or the first of: 10 a BISnp that is not legal, 11 a BITag in use, 14 an Ack that is not due (tags in
    // error_tag)
    output reg [3:0] error,
    output reg [15:0] error_tag
);
    localparam REQS = 256, CONFLICTS = 4096;

    // Reqs that have had no Cmp: the places in use are the first `pending`.
    reg [15:0] req_tag [0:REQS-1];
    reg [`ADDRESS_BITS-1:0] req_address [0:REQS-1];
    integer pending;
    // A Req is offered again as long as it is not taken.
    reg again;

    // Snoops in the order of their arrival, by number; Acks that each waits for.
    reg [`BISNP_BITS-1:0] snoop [0:`SNOOPS-1];
    reg [31:0] due [0:`SNOOPS-1];
    integer acks [0:`SNOOPS-1];
    reg busy [0:`SNOOPS-1];
    integer first, snoops;

    // BIConflicts to be sent: the tags of their Reqs; those sent, whose snoop it is by the Req's tag.
    reg [15:0] conflict_tag [0:CONFLICTS-1];
    integer conflict_first, conflicts, unanswered;
    integer snoop_of [0:65535];
    reg conflicting [0:65535];

    reg rwd_busy, birsp_busy;
    reg [`REQ_BITS-1:0] req;
    reg [`RWD_BITS-1:0] rwd_message;
    reg [`BIRSP_BITS-1:0] birsp_message;
    reg [`NDR_BITS-1:0] ndr;
    reg [`DRS_BITS-1:0] drs;
    reg [`BISNP_BITS-1:0] bisnp;
    reg [`ADDRESS_BITS-1:0] address, difference;
    reg [15:0] tag;
    reg is_block;
    integer i, place, form, found;

    task fail(input [3:0] code, input [15:0] where);
        if (error == 0) begin
            error <= code;
            error_tag <= where;
        end
    endtask

    // The pending Req with `tag`: `found`, or -1.
    task find;
        begin
            found = -1;
            for (i = 0; i < pending; i = i + 1) if (req_tag[i] == tag) found = i;
        end
    endtask

    task forget;
        if (found >= 0) begin
            pending = pending - 1;
            req_tag[found] = req_tag[pending];
            req_address[found] = req_address[pending];
        end
    endtask

    task arrive;
        begin
            form = bisnp[`BISNP_OPCODE];
            address = bisnp[`BISNP_ADDRESS];
            tag = bisnp[`BISNP_BI_TAG];
            if (form % `BISNP_BLOCK > `BISNP_OPCODE_INV || form > `BISNP_BLOCK + `BISNP_OPCODE_INV
                || bisnp[`BISNP_BI_ID] != 0 || tag >= `SNOOPS
                || (form >= `BISNP_BLOCK && address % 4 == 0)) fail(10, tag);
            else if (busy[tag]) fail(11, tag);
            else begin
                busy[tag] = 1;
                place = (first + snoops) % `SNOOPS;
                snoop[place] = bisnp;
                due[place] = clock + snoop_clocks;
                acks[place] = 0;
                snoops = snoops + 1;
                for (i = 0; i < pending; i = i + 1) begin
                    difference = req_address[i] ^ address;
                    // Of a block, the halves are in the address; else it is the line.
                    if (form >= `BISNP_BLOCK ? difference >> 2 == 0 && address >> req_address[i][1] & 1
                        : difference == 0)
                        if (!conflicting[req_tag[i]]) begin
                            conflicting[req_tag[i]] = 1;
                            snoop_of[req_tag[i]] = place;
                            acks[place] = acks[place] + 1;
                            conflict_tag[(conflict_first + conflicts) % CONFLICTS] = req_tag[i];
                            conflicts = conflicts + 1;
                            unanswered = unanswered + 1;
                        end
                end
            end
        end
    endtask

    always @(posedge clk) begin
        if (rst) begin
            pending = 0;
            again = 0;
            first = 0;
            snoops = 0;
            conflict_first = 0;
            conflicts = 0;
            unanswered = 0;
            for (i = 0; i < `SNOOPS; i = i + 1) busy[i] = 0;
            for (i = 0; i < 65536; i = i + 1) conflicting[i] = 0;
            rwd_valid <= 0;
            birsp_valid <= 0;
            // A payload that is not valid must not be unknown either: the endpoint's shifts would spread it.
            birsp_payload <= 0;
            done <= 0;
            open_snoops <= 0;
            early <= 0;
            late <= 0;
            error <= 0;
            error_tag <= 0;
        end else begin
            `CHANNEL_STEP(rwd)
            `CHANNEL_STEP(birsp)

            if (req_valid && !again) begin
                req = req_payload;
                req_tag[pending] = req[`REQ_TAG];
                req_address[pending] = req[`REQ_ADDRESS];
                pending = pending + 1;
            end
            again = req_valid && !req_ready;
            if (ndr_taken) begin
                ndr = ndr_payload;
                tag = ndr[`NDR_TAG];
                find;
                if (ndr[`NDR_OPCODE] != `NDR_OPCODE_BI_CONFLICT_ACK) forget;
                else if (!conflicting[tag]) fail(14, tag);
                else begin
                    conflicting[tag] = 0;
                    acks[snoop_of[tag]] = acks[snoop_of[tag]] - 1;
                    unanswered = unanswered - 1;
                    if (found >= 0) early <= early + 1;
                    else late <= late + 1;
                end
            end
            drs = drs_payload;
            if (drs_taken && drs[`DRS_OPCODE] == `DRS_OPCODE_NXM) begin
                tag = drs[`DRS_TAG];
                find;
                forget;
            end
            if (bisnp_taken) begin
                bisnp = bisnp_payload;
                arrive;
            end

            if (!rwd_busy && conflicts != 0) begin
                rwd_message = 0;
                rwd_message[`RWD_OPCODE] = `RWD_OPCODE_BI_CONFLICT;
                rwd_message[`RWD_TAG] = conflict_tag[conflict_first];
                bisnp = snoop[snoop_of[conflict_tag[conflict_first]]];
                rwd_message[`RWD_ADDRESS] = bisnp[`BISNP_ADDRESS];
                `CHANNEL_OFFER(rwd)
                conflict_first = (conflict_first + 1) % CONFLICTS;
                conflicts = conflicts - 1;
            end
            if (!birsp_busy && snoops != 0) if (due[first] <= clock + 1 && acks[first] == 0) begin
                bisnp = snoop[first];
                form = bisnp[`BISNP_OPCODE];
                address = bisnp[`BISNP_ADDRESS];
                birsp_message = 0;
                birsp_message[`BIRSP_OPCODE] = `BIRSP_OPCODE_I;
                if (form >= `BISNP_BLOCK) birsp_message[`BIRSP_OPCODE] = `BIRSP_OPCODE_I_BLK;
                else birsp_message[`BIRSP_LOW_ADDR] = address % 4;
                birsp_message[`BIRSP_BI_TAG] = bisnp[`BISNP_BI_TAG];
                `CHANNEL_OFFER(birsp)
                busy[bisnp[`BISNP_BI_TAG]] = 0;
                first = (first + 1) % `SNOOPS;
                snoops = snoops - 1;
            end
            open_snoops <= snoops;
            done <= snoops == 0 && unanswered == 0 && !birsp_busy;
        end
    end
endmodule
