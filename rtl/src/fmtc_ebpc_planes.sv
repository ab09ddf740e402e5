// Octuples of words to the bits of an EBPC string (docs/stream_format.md, "EBPC chunks"), two planes
// a cycle: at most 22 bits a cycle, three cycles later.
//
// An octuple is its first word and seven differences; those that are missing at the end of a chunk
// are 0, which is what repeating the last word gives. It takes 1 + ceil((word_bits + 1) / 2) cycles,
// and the next one must not begin before.
module fmtc_ebpc_planes #(
    parameter int WORD_BITS = 12  // at most, 4 to 12
) (
    input logic clk,
    input logic rst,

    input logic [3:0] word_bits,  // 1 to WORD_BITS

    input  logic                           start,
    input  logic [  WORD_BITS-1:0]         first,        // as it is
    input  logic [6:0][WORD_BITS:0]        differences,  // those of words of word_bits bits, moved up so
                                                         // that plane word_bits is the highest bit
    output logic                           busy,         // the next must wait
    output logic                           empty,        // nothing is in the stages behind, either

    output logic        out_valid,
    output logic [21:0] out_bits,
    output logic [ 4:0] out_length
);
  localparam logic [6:0] AllOnes = 7'h7F;

  typedef struct packed {
    logic [7:0] bits;
    logic [3:0] length;
  } code_t;

  // -- Two planes a cycle -------------------------------------------------------------------------
  logic [6:0][WORD_BITS:0] rest;  // of the differences, the present two planes highest
  logic [4:0] planes_left;
  logic [6:0] above;              // the plane before these
  logic [6:0] plane_a, plane_b;
  logic [3:0] run_bits;
  assign run_bits = word_bits > 4'd8 ? 4'd4 : word_bits > 4'd4 ? 4'd3
                  : word_bits > 4'd2 ? 4'd2 : word_bits > 4'd1 ? 4'd1 : 4'd0;

  assign busy = planes_left != '0;
  for (genvar k = 0; k < 7; ++k) begin : g_plane
    assign plane_a[k] = rest[k][WORD_BITS];
    assign plane_b[k] = rest[k][WORD_BITS-1];
    always_ff @(posedge clk) begin
      if (start) rest[k] <= differences[k];
      else rest[k] <= {rest[k][WORD_BITS-2:0], 2'b0};
    end
  end

  // Stage 1: the changes of both planes, or the first word.
  logic valid1, is_first1, two1, last1;
  logic [WORD_BITS-1:0] first1;
  logic [6:0] change_a1, change_b1;
  logic none_a1, none_b1;  // the planes themselves are 0
  always_ff @(posedge clk) begin
    if (rst) begin
      planes_left <= '0;
      valid1 <= 1'b0;
      is_first1 <= 1'b0;
    end else begin
      if (start) planes_left <= {1'b0, word_bits} + 5'd1;
      else if (planes_left != '0) planes_left <= planes_left > 5'd2 ? planes_left - 5'd2 : '0;
      valid1 <= planes_left != '0;
      is_first1 <= start;
    end
    if (start) above <= '0;
    else above <= plane_b;
    if (start) first1 <= first;
    two1 <= planes_left > 5'd1;
    last1 <= planes_left <= 5'd2;
    change_a1 <= plane_a ^ above;
    change_b1 <= plane_b ^ plane_a;
    none_a1 <= plane_a == '0;
    none_b1 <= plane_b == '0;
  end

  // -- Codes --------------------------------------------------------------------------------------
  function automatic code_t code_of(input logic [6:0] change, input logic none);
    logic [2:0] place;
    logic [6:0] lowest;
    place = '0;
    for (int i = 6; i >= 0; --i) if (change[i]) place = 3'(i);
    lowest = change & (~change + 7'd1);
    if (change == AllOnes) return '{8'b00000, 4'd5};
    else if (none) return '{8'b10000, 4'd5};
    else if (change == (lowest | lowest << 1) && change[6:0] != lowest)
      return '{{place, 5'b01000}, 4'd8};
    else if (change == lowest) return '{{place, 5'b11000}, 4'd8};
    else return '{{change, 1'b1}, 4'd8};
  endfunction

  function automatic code_t run_code(input logic [3:0] run, input logic [3:0] bits);
    if (run == 4'd0) return '0;
    else if (run == 4'd1) return '{8'b100, 4'd3};
    else return '{{2'b0, run - 4'd2, 2'b10}, 4'd2 + bits};
  endfunction

  // Stage 2: a run of zero planes that ends, the first plane's code, the second's or a run's at the
  // end of the octuple.
  logic [3:0] run, run_before, run_after;  // planes of zero changes so far
  logic zero_a, zero_b, valid2;
  code_t before2, a2, b2;
  assign zero_a = change_a1 == '0;
  assign zero_b = change_b1 == '0;
  assign run_before = zero_a ? run + 4'd1 : run;
  always_comb begin
    if (!two1) run_after = zero_a ? run_before : 4'd0;
    else if (!zero_b) run_after = 4'd0;
    else run_after = zero_a ? run_before + 4'd1 : 4'd1;
  end

  always_ff @(posedge clk) begin
    if (rst || is_first1) run <= '0;
    else if (valid1) run <= last1 ? '0 : run_after;

    if (rst) valid2 <= 1'b0;
    else valid2 <= valid1 || is_first1;

    before2 <= '0;
    a2 <= '0;
    b2 <= '0;
    if (is_first1) begin
      a2 <= '{first1[7:0], word_bits > 4'd8 ? 4'd8 : word_bits};
      b2 <= '{8'(first1 >> 8), word_bits > 4'd8 ? word_bits - 4'd8 : 4'd0};
    end else begin
      // A run ends where a plane of this cycle changes something.
      if (!zero_a || (two1 && !zero_b)) before2 <= run_code(run_before, run_bits);
      if (!zero_a) a2 <= code_of(change_a1, none_a1);
      if (two1 && !zero_b) b2 <= code_of(change_b1, none_b1);
      else if (last1) b2 <= run_code(run_after, run_bits);
    end
  end

  // Stages 3 and 4: put together.
  logic valid3;
  logic [15:0] both3;
  logic [4:0] both_length3;
  code_t before3;
  always_ff @(posedge clk) begin
    if (rst) {valid3, out_valid} <= '0;
    else {valid3, out_valid} <= {valid2, valid3};
    both3 <= {8'd0, a2.bits} | {8'd0, b2.bits} << a2.length;
    both_length3 <= {1'b0, a2.length} + {1'b0, b2.length};
    before3 <= before2;
    out_bits <= {14'd0, before3.bits} | {6'd0, both3} << before3.length;
    out_length <= {1'b0, before3.length} + both_length3;
  end
  assign empty = planes_left == '0 && !start && !is_first1 && !valid1 && !valid2 && !valid3 && !out_valid;
endmodule
