// One end of a rANS payload: half words, in order from the front, or from the back backwards.
//
// A value takes its half word when it leaves the decoder's ring, if it needs one at all. `at_hand`
// tells that there are enough here for all values in a full ring and one more, or that no more are to
// come. So nobody has to count which of them are reserved.
module fmtc_rans_end #(
    parameter bit BACKWARDS = 1'b0,
    parameter int RING = 8  // values in a full ring
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

    output logic        at_hand,
    output logic [31:0] word,        // that with the next half
    output logic        upper,       // which is its upper one
    input  logic        take_half,
    input  logic        take_word    // from the front: a state, before any half
);
  localparam int Depth = 16;  // words
  localparam int AddressBits = $clog2(Depth);
  localparam int Enough = (RING + 3) / 2;  // words for RING + 1 halves, if one of the first is gone

  logic [31:0] words[Depth];
  logic [AddressBits-1:0] head, tail;
  logic [AddressBits:0] used;
  logic open;  // words are to come
  logic arrives, leaves;

  assign in_ready = open && !used[AddressBits];
  assign arrives = in_valid && in_ready;
  // Forwards the lower half of a word is the first, backwards the upper one. More may be taken than
  // there was, where a payload is too short: what that is does not matter, nor what `used` is then.
  assign leaves = take_word || (take_half && upper == !BACKWARDS);
  assign word = words[head];
  assign at_hand = used >= (AddressBits + 1)'(Enough) || !open;

  always_ff @(posedge clk) begin
    if (arrives) words[tail] <= in_data;
  end

  always_ff @(posedge clk) begin
    if (rst || close || (arrives && in_last)) open <= 1'b0;
    else if (start) open <= 1'b1;
  end

  always_ff @(posedge clk) begin
    if (start) begin
      head <= '0;
      tail <= '0;
      used <= '0;
      upper <= BACKWARDS && !odd;  // half of the payload's last word may be beyond its end
    end else begin
      if (leaves) head <= head + 1'b1;
      if (arrives) tail <= tail + 1'b1;
      if (arrives != leaves) used <= used + (leaves ? '1 : (AddressBits + 1)'(1));
      if (take_half) upper <= !upper;
    end
  end
endmodule
