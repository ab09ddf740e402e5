// CRC-32C of a string of words, a word a cycle (docs/stream_format.md, "Checksum").
//
// The checksum of a word's first bytes is that of fewer steps of one register, so a last word of 1 to
// 4 bytes takes no longer.
module fmtc_crc32c (
    input logic clk,
    input logic rst,

    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_data,
    input  logic [ 1:0] in_begin,  // the first byte that counts; 0 but in the first word
    input  logic [ 2:0] in_end,    // behind the last one; 4 but in the last word
    input  logic        in_last,

    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_checksum
);
  localparam logic [31:0] Polynomial = 32'h82F6_3B78;  // reflected

  function automatic logic [31:0] next_of(input logic [31:0] register, input logic [7:0] value);
    logic [31:0] result;
    result = register ^ {24'd0, value};
    for (int i = 0; i < 8; ++i) result = {1'b0, result[31:1]} ^ (result[0] ? Polynomial : 32'd0);
    return result;
  endfunction

  logic [31:0] register, next;
  always_comb begin
    next = register;
    for (int i = 0; i < 4; ++i) begin
      if (3'(i) >= {1'b0, in_begin} && 3'(i) < in_end) next = next_of(next, in_data[8*i+:8]);
    end
  end

  assign in_ready = !out_valid;
  assign out_checksum = ~register;

  always_ff @(posedge clk) begin
    if (rst || (out_valid && out_ready)) begin
      register <= '1;
      out_valid <= 1'b0;
    end else if (in_valid && in_ready) begin
      register <= next;
      out_valid <= in_last;
    end
  end
endmodule
