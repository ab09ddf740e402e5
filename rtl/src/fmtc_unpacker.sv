// Strings of 32-bit words, as fmtc_packer makes them, to a window of bits from which up to 16 are
// taken a cycle.
//
// Words are taken in halves, so that the buffer is 48 bits wide and nothing that depends on `take`
// is longer than one shift. From 16 bits on at the first look, there are 15 at every later one, as a
// half word comes in whenever 32 bits or fewer are there.
module fmtc_unpacker (
    input logic clk,
    input logic rst,

    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_data,
    input  logic [ 1:0] in_begin,  // the first byte of the string in this word; 0 but in its first
    input  logic [ 2:0] in_end,    // behind the last one; 4 but in its last
    input  logic        in_last,

    output logic [15:0] bits,   // the next bits, the first in bit 0; zeros beyond the end
    output logic signed [6:0] count,  // bits that are there; below 0 where more were taken
    output logic ended,         // and no others come
    output logic rest_is_zero,  // all that are there
    input logic [4:0] take,     // bits to take, 0 to 16
    input logic discard,        // throw away all that is there or comes, until `ended`
    input logic next            // begin the next string, once `ended`
);
  logic [47:0] buffer;
  logic held;  // a word that is not wholly in the buffer
  logic [31:0] held_data;
  logic [1:0] held_begin;
  logic [2:0] held_end;
  logic held_last;
  logic half;  // the half of it that comes next

  // The bytes of this half that are the string's.
  logic [1:0] from, to;
  assign from = half == held_begin[1] ? {1'b0, held_begin[0]} : {held_begin[1], 1'b0};
  assign to = half ? (held_end[2] ? 2'd2 : held_end[1:0] == 2'd3 ? 2'd1 : 2'd0)
                   : (held_end >= 3'd2 ? 2'd2 : held_end[1:0]);
  logic [1:0] bytes;
  logic [15:0] piece, whole;
  assign bytes = to > from ? to - from : 2'd0;
  assign whole = half ? held_data[31:16] : held_data[15:0];
  always_comb begin
    piece = from[0] ? {8'd0, whole[15:8]} : whole;
    if (bytes < 2'd2) piece[15:8] = 8'd0;
    if (bytes == 2'd0) piece[7:0] = 8'd0;
  end

  logic insert, last_half;
  assign insert = held && !ended && (count <= 7'sd32 || discard);
  assign last_half = half || (held_last && held_end <= 3'd2);
  assign in_ready = !held || (insert && last_half);

  logic [47:0] filled;
  assign filled = insert ? buffer | {32'd0, piece} << 6'(count < 0 ? 7'sd0 : count) : buffer;
  assign bits = buffer[15:0];
  assign rest_is_zero = buffer == '0;

  always_ff @(posedge clk) begin
    if (rst) begin
      held <= 1'b0;
    end else if (in_ready) begin
      held <= in_valid;
      held_data <= in_data;
      held_begin <= in_begin;
      held_end <= in_end;
      held_last <= in_last;
      half <= in_begin[1] && !(in_last && in_end <= 3'd2);
    end else if (insert) begin
      half <= 1'b1;
    end
  end

  always_ff @(posedge clk) begin
    if (rst || next) begin
      buffer <= '0;
      count <= '0;
      ended <= 1'b0;
    end else begin
      buffer <= discard ? '0 : filled >> take;
      if (discard) count <= '0;
      else count <= count - 7'(take) + (insert ? {2'd0, bytes, 3'd0} : 7'sd0);
      if (insert && last_half && held_last) ended <= 1'b1;
    end
  end
endmodule
