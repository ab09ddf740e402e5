// Codes of up to BITS bits to strings of 32-bit words, one code a cycle.
//
// A string is LSB-first: its first bit is the lowest of its first byte, and its last byte is filled
// up with zero bits. It begins at byte 0 of a word or, with `in_join`, at the byte where the string
// before ended. The bytes of a word that are the string's are `out_begin` to `out_end` - 1; a string
// of no bits is one word of no bytes.
module fmtc_packer #(
    parameter int BITS = 16,  // at most 32
    localparam int LengthBits = $clog2(BITS + 1)
) (
    input logic clk,
    input logic rst,

    input  logic                  in_valid,
    output logic                  in_ready,
    input  logic [      BITS-1:0] in_bits,    // zero above in_length
    input  logic [LengthBits-1:0] in_length,  // 0 to BITS
    input  logic                  in_join,    // of the first code of a string
    input  logic                  in_last,    // the string ends with this code

    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_data,   // zero outside the string's bytes
    output logic [ 1:0] out_begin,
    output logic [ 2:0] out_end,    // 4 in all words but the last
    output logic        out_last
);
  logic [31:0] word;          // the present word
  logic [4:0] fill;           // its bits so far, from the beginning of the word on
  logic [1:0] first;          // the first byte of it that is the string's
  logic under_way;         // a string has begun
  logic tail;                 // a string's last word is yet to come

  logic step;
  assign step = !out_valid || out_ready;
  assign in_ready = step && !tail;

  logic [1:0] begin_byte;
  logic [4:0] begin_fill;
  assign begin_byte = under_way ? first : (in_join ? first : 2'd0);
  assign begin_fill = under_way ? fill : {begin_byte, 3'd0};

  // The word with the code behind what it has, and the bits in it.
  logic [BITS+31:0] wide;
  logic [6:0] total;
  assign wide = {{BITS{1'b0}}, under_way ? word : 32'd0} | {32'd0, in_bits} << begin_fill;
  assign total = {2'd0, begin_fill} + 7'(in_length);

  // Bytes of the last word: up to 4 here, or what is beyond in the tail.
  logic [6:0] padded;
  assign padded = total + 7'd7;

  always_ff @(posedge clk) begin
    if (rst) begin
      out_valid <= 1'b0;
      under_way <= 1'b0;
      tail <= 1'b0;
      first <= 2'd0;
    end else if (step) begin
      out_valid <= 1'b0;
      if (tail) begin
        out_valid <= 1'b1;
        tail <= 1'b0;
        under_way <= 1'b0;
        first <= 2'((fill + 5'd7) >> 3);
      end else if (in_valid) begin
        out_valid <= in_last || total >= 7'd32;
        tail <= in_last && total > 7'd32;
        under_way <= !in_last || total > 7'd32;
        // Of the next word; after the last one, the byte where the string has ended.
        if (in_last && total <= 7'd32) first <= padded[4:3];
        else first <= total >= 7'd32 ? 2'd0 : begin_byte;
      end
    end
  end

  always_ff @(posedge clk) begin
    if (step && tail) begin
      out_data <= word;
      out_begin <= 2'd0;
      out_end <= 3'(({1'b0, fill} + 6'd7) >> 3);
      out_last <= 1'b1;
    end else if (step && in_valid) begin
      out_data <= wide[31:0];
      out_begin <= begin_byte;
      out_end <= total >= 7'd32 ? 3'd4 : padded[5:3];
      out_last <= in_last && total <= 7'd32;
      if (total >= 7'd32) word <= 32'(wide[BITS+31:32]);
      else word <= wide[31:0];
      fill <= total[4:0];
    end
  end

  logic unused;
  assign unused = &{1'b0, padded[6], padded[2:0]};
endmodule
