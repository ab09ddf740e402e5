// One end of a rANS payload: half words, in order from the front, or from the back backwards.
//
// Values in the decoder's ring each keep one half word reserved, until it is known whether they need
// it; `at_hand` tells that there is another one, or that the payload has no more to give.
module fmtc_rans_end #(
    parameter bit BACKWARDS = 1'b0
) (
    input logic clk,
    input logic rst,

    input logic start,  // of a chunk
    input logic odd,    // its payload ends with half a word
    input logic close,  // the chunk is done: nothing more is taken, the rest dropped

    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_data,
    input  logic        in_last,

    // From the front, states are taken as words before any half.
    output logic        word_valid,
    output logic [31:0] word,
    input  logic        take_word,

    output logic [15:0] half,         // the next one
    input  logic        take,
    input  logic        reserve,      // for a value that goes into the ring
    input  logic        release_one,  // one left the ring without taking its half
    output logic        at_hand
);
  localparam int Depth = 16;  // words

  logic open;
  logic all_here;                    // no word is to come
  logic signed [6:0] unreserved;     // halves that are here and not reserved
  logic fifo_ready, fifo_valid, second, take_second;

  logic dropping;
  assign dropping = close || start;
  assign in_ready = open && fifo_ready && !all_here;

  fmtc_fifo #(.WIDTH(32), .DEPTH(Depth)) words (
      .clk, .rst(rst || dropping), .in_valid(in_valid && in_ready), .in_ready(fifo_ready), .in_data,
      .out_valid(fifo_valid), .out_ready(take_word || (take && take_second)), .out_data(word)
  );

  // The half of the head that is next: forwards the lower one first, backwards the upper one.
  assign half = second ? word[31:16] : word[15:0];
  assign take_second = BACKWARDS ? !second : second;
  assign word_valid = fifo_valid;

  // Half of the payload's last word may be beyond its end.
  logic odd_here, first;
  logic [1:0] coming;
  assign coming = odd_here && (BACKWARDS ? first : in_last) ? 2'd1 : 2'd2;

  assign at_hand = unreserved > 0 || all_here;

  always_ff @(posedge clk) begin
    if (rst || close) begin
      open <= 1'b0;
    end else if (start) begin
      open <= 1'b1;
    end
    if (start) begin
      all_here <= 1'b0;
      unreserved <= '0;
      first <= 1'b1;
      odd_here <= odd;
      second <= BACKWARDS && !odd;
    end else begin
      if (in_valid && in_ready) begin
        all_here <= in_last;
        first <= 1'b0;
      end
      if (take) second <= !second;
      unreserved <= unreserved + (in_valid && in_ready ? 7'($signed({1'b0, coming})) : 7'sd0) -
                    (take_word ? 7'sd2 : 7'sd0) - (reserve ? 7'sd1 : 7'sd0) +
                    (release_one ? 7'sd1 : 7'sd0);
    end
  end
endmodule
