// Chunks of EBPC to levels (docs/stream_format.md, "EBPC chunks").
//
// A front reads the string: the marks, up to 16 zeros or 8 others a cycle, then the octuples, two
// planes a cycle and at most a word a cycle. A back makes levels of marks and words, one a cycle.
// Between them are buffers, so that the front reads the marks of the next chunk while the back gives
// the levels of this one.
//
// Every chunk gives as many levels as it has values, whatever its bytes are; `done_bad` then tells
// that they mean nothing.
module fmtc_ebpc_decoder #(
    parameter int VALUES = 4096,   // of a chunk, at most; a power of two
    parameter int WORD_BITS = 12,  // at most, 4 to 12
    parameter int WORDS = 1024,    // that wait for their places; a power of two
    localparam int CountBits = $clog2(VALUES) + 1
) (
    input logic clk,
    input logic rst,

    // While nothing is decoded.
    input logic        [ 3:0] word_bits,  // 1 to WORD_BITS
    input logic signed [15:0] lo,

    input  logic                 chunk_valid,
    output logic                 chunk_ready,
    input  logic [CountBits-1:0] chunk_values,  // 1 to VALUES

    // The words of the payload (fmtc_unpacker).
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_data,
    input  logic [ 1:0] in_begin,
    input  logic [ 2:0] in_end,
    input  logic        in_last,

    output logic               out_valid,
    input  logic               out_ready,
    output logic signed [15:0] out_level,

    // One a chunk.
    output logic done_valid,
    input  logic done_ready,
    output logic done_bad
);
  typedef enum logic [2:0] {StIdle, StMarks, StFirst, StPlanes, StCheck, StDone} state_t;
  state_t state;
  logic [CountBits-1:0] left;    // values without a mark
  logic [CountBits-1:0] others;  // words to come
  logic bad;

  // -- Bits ---------------------------------------------------------------------------------------
  logic [15:0] bits;
  logic signed [6:0] count;
  logic ended, rest_is_zero, discard, next, bits_here;
  logic [4:0] take;

  fmtc_unpacker unpacker (
      .clk, .rst, .in_valid, .in_ready, .in_data, .in_begin, .in_end, .in_last,
      .bits, .count, .ended, .rest_is_zero, .take, .discard, .next
  );
  assign bits_here = count >= 7'sd16 || ended || bad;

  // -- Marks --------------------------------------------------------------------------------------
  logic mark_ready, mark_put, mark_zero;
  logic [3:0] ones, mark_count_less_1, ones_less_1, zeros_less_1;
  logic [4:0] mark_count;
  logic too_many;
  always_comb begin
    ones = 4'd8;
    for (int i = 7; i >= 0; --i) if (!bits[i]) ones = 4'(i);
  end
  // Where the string is damaged, any marks will do: zeros.
  assign mark_zero = bad || !bits[0];
  assign zeros_less_1 = bits[4:1];
  assign too_many = mark_zero && left <= CountBits'(zeros_less_1);
  // No more than are left; of the ones, what is beyond belongs to the octuples.
  assign ones_less_1 = left < CountBits'(ones) ? 4'(left - 1'b1) : ones - 4'd1;
  always_comb begin
    if (!mark_zero) mark_count_less_1 = ones_less_1;
    else if (bad || too_many) mark_count_less_1 = left > CountBits'(15) ? 4'd15 : 4'(left - 1'b1);
    else mark_count_less_1 = zeros_less_1;
  end
  assign mark_count = {1'b0, mark_count_less_1} + 5'd1;
  assign mark_put = state == StMarks && left != '0 && bits_here && mark_ready;

  // -- Planes -------------------------------------------------------------------------------------
  typedef struct packed {
    logic bad;
    logic is_run;
    logic clears;        // the plane, not its change, is 0
    logic [6:0] change;
    logic [3:0] length;
  } code_t;

  function automatic code_t code_of(input logic [7:0] b);
    logic [6:0] single, pair;
    single = 7'd1 << b[7:5];
    pair = 7'd3 << b[7:5];
    if (b[0]) return '{1'b0, 1'b0, 1'b0, b[7:1], 4'd8};
    if (b[1]) return '{1'b0, 1'b1, 1'b0, 7'd0, 4'd2};
    if (b[2]) return '{1'b0, 1'b0, 1'b0, 7'd0, 4'd3};
    unique case (b[4:3])
      2'b00: return '{1'b0, 1'b0, 1'b0, 7'h7F, 4'd5};
      2'b10: return '{1'b0, 1'b0, 1'b1, 7'd0, 4'd5};
      2'b01: return '{b[7:5] > 3'd5, 1'b0, 1'b0, pair, 4'd8};
      default: return '{b[7:5] > 3'd6, 1'b0, 1'b0, single, 4'd8};
    endcase
  endfunction

  logic [3:0] run_bits, run_more, planes_left;  // planes after these two or one
  logic [4:0] zero_planes;                      // of a run, that are still to come
  assign run_bits = word_bits > 4'd8 ? 4'd4 : word_bits > 4'd4 ? 4'd3
                  : word_bits > 4'd2 ? 4'd2 : word_bits > 4'd1 ? 4'd1 : 4'd0;

  code_t a, b;
  logic [6:0] above, plane_a, plane_b;
  logic two, plane_bad, step, words_idle;
  logic [4:0] planes_length, run_after;
  assign a = code_of(bits[7:0]);
  assign b = code_of(8'(bits >> a.length));
  assign run_more = bits[5:2] & ~(4'hF << run_bits);

  always_comb begin
    plane_a = above;
    plane_b = above;
    two = 1'b1;
    planes_length = '0;
    run_after = '0;
    plane_bad = 1'b0;
    if (zero_planes != '0) begin
      two = zero_planes != 5'd1;
      run_after = two ? zero_planes - 5'd2 : 5'd0;
    end else if (a.is_run) begin
      run_after = {1'b0, run_more};
      planes_length = 5'd2 + {1'b0, run_bits};
      plane_bad = {1'b0, run_more} + 5'd2 > {1'b0, planes_left};
    end else begin
      plane_a = a.clears ? '0 : above ^ a.change;
      plane_b = b.clears ? '0 : plane_a ^ b.change;
      two = !b.is_run && planes_left != 4'd1;
      planes_length = {1'b0, a.length} + (two ? {1'b0, b.length} : 5'd0);
      plane_bad = a.bad || (two && b.bad);
    end
    if (planes_left == 4'd1) two = 1'b0;
  end
  assign step = state == StPlanes && bits_here;

  // -- Words --------------------------------------------------------------------------------------
  // An octuple's differences are gathered here, and its words leave one by one meanwhile.
  logic [6:0][WORD_BITS:0] gathered, differences;
  logic [WORD_BITS-1:0] first;
  logic [WORD_BITS:0] word;
  logic [3:0] words_left;     // of the eight, after the present word
  logic [3:0] words_to_put;   // that are not repetitions
  logic word_here, word_put, word_ready, hand_over, last_planes;
  logic [WORD_BITS:0] mask;
  logic signed [16:0] none;  // the word of level 0

  assign mask = ~(('1 << word_bits) << 1);
  assign none = -17'(lo);
  assign last_planes = planes_left <= (two ? 4'd2 : 4'd1);
  assign words_idle = !word_here || (words_left == '0 && word_put);
  assign word_put = word_here && (word_ready || words_to_put == '0);
  assign hand_over = state == StPlanes && planes_left == '0 && words_idle;

  for (genvar k = 0; k < 7; ++k) begin : g_difference
    always_ff @(posedge clk) begin
      if (step && planes_left != '0) begin
        gathered[k] <= two ? {gathered[k][WORD_BITS-2:0], plane_a[k], plane_b[k]}
                           : {gathered[k][WORD_BITS-1:0], plane_a[k]};
      end
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      word_here <= 1'b0;
    end else if (hand_over) begin
      word_here <= 1'b1;
    end else if (word_put && words_left == '0) begin
      word_here <= 1'b0;
    end
    if (hand_over) begin
      word <= {1'b0, first};
      differences <= gathered;
      words_left <= 4'd7;
      words_to_put <= others >= CountBits'(8) ? 4'd8 : 4'(others);
    end else if (word_put) begin
      word <= (word + differences[0]) & mask;
      differences <= {{(WORD_BITS + 1){1'b0}}, differences[6:1]};
      words_left <= words_left - 1'b1;
      if (words_to_put != '0) words_to_put <= words_to_put - 1'b1;
    end
  end

  // No word may be that of level 0 or have a bit more than words have, and what fills up the last
  // octuple must be its last word: then the difference before it is 0.
  logic word_bad;
  assign word_bad = word_put &&
                    ((words_to_put != '0 && (17'(word) == none || (word >> word_bits) != '0)) ||
                     (words_to_put <= 4'd1 && words_left != '0 && (differences[0] & mask) != '0));

  // -- A chunk ------------------------------------------------------------------------------------
  assign chunk_ready = state == StIdle;
  assign discard = bad || (state == StCheck && count >= 7'sd8);
  assign next = done_valid && done_ready;
  assign done_valid = state == StDone;
  assign done_bad = bad;

  always_comb begin
    take = '0;
    if (bad) take = '0;
    else if (mark_put) take = bits[0] ? {1'b0, ones_less_1} + 5'd1 : 5'd5;
    else if (state == StFirst && bits_here) take = {1'b0, word_bits};
    else if (step && planes_left != '0) take = planes_length;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StIdle;
    end else begin
      unique case (state)
        StIdle: if (chunk_valid) state <= StMarks;
        StMarks: if (left == '0) state <= others == '0 ? StCheck : StFirst;
        StFirst: if (bits_here) state <= StPlanes;
        StPlanes: if (hand_over) state <= others > CountBits'(8) ? StFirst : StCheck;
        StCheck: if (ended && !word_here) state <= StDone;
        default: if (done_ready) state <= StIdle;
      endcase
    end

    // Not later: the next chunk's bits must not be thrown away.
    if (rst || next) bad <= 1'b0;
    if (state == StIdle) begin
      left <= chunk_values;
      others <= '0;
    end else begin
      if (mark_put) begin
        left <= left - CountBits'(mark_count);
        if (!mark_zero) others <= others + CountBits'(mark_count);
        if (too_many) bad <= 1'b1;
      end
      if (hand_over) others <= others > CountBits'(8) ? others - CountBits'(8) : '0;
      if (step && planes_left != '0 && plane_bad) bad <= 1'b1;
      if (word_bad) bad <= 1'b1;
      if (count < 0 && state != StDone) bad <= 1'b1;
      if (state == StCheck && (discard || (ended && !rest_is_zero))) bad <= 1'b1;
    end

    if (state == StFirst && bits_here) begin
      first <= bits[WORD_BITS-1:0] & mask[WORD_BITS:1];
      above <= '0;
      zero_planes <= '0;
      planes_left <= word_bits + 4'd1;
    end else if (step && planes_left != '0) begin
      above <= two ? plane_b : plane_a;
      zero_planes <= bad ? '0 : run_after;
      planes_left <= last_planes ? '0 : planes_left - (two ? 4'd2 : 4'd1);
    end
  end

  // -- Levels -------------------------------------------------------------------------------------
  logic mark_here, zero_here, stored_valid, stored_ready, level_ready;
  logic [3:0] stored_count_less_1, marked_less_1;
  logic stored_zero;
  logic queue_valid, queue_ready;
  logic [WORD_BITS-1:0] queue_word;

  fmtc_block_fifo #(.WIDTH(5), .DEPTH(VALUES)) marks (
      .clk, .rst, .in_valid(mark_put), .in_ready(mark_ready),
      .in_data({mark_zero, mark_count_less_1}),
      .out_valid(stored_valid), .out_ready(stored_ready),
      .out_data({stored_zero, stored_count_less_1})
  );
  fmtc_block_fifo #(.WIDTH(WORD_BITS), .DEPTH(WORDS)) words (
      .clk, .rst, .in_valid(word_here && words_to_put != '0), .in_ready(word_ready),
      .in_data(word[WORD_BITS-1:0]),
      .out_valid(queue_valid), .out_ready(queue_ready), .out_data(queue_word)
  );

  logic put;
  assign put = mark_here && (zero_here || queue_valid) && level_ready;
  assign queue_ready = mark_here && !zero_here && level_ready;
  assign stored_ready = !mark_here || (put && marked_less_1 == '0);

  always_ff @(posedge clk) begin
    if (rst) begin
      mark_here <= 1'b0;
    end else if (stored_ready) begin
      mark_here <= stored_valid;
      zero_here <= stored_zero;
      marked_less_1 <= stored_count_less_1;
    end else if (put) begin
      marked_less_1 <= marked_less_1 - 1'b1;
    end
  end

  fmtc_fifo #(.WIDTH(16), .DEPTH(2)) results (
      .clk, .rst, .in_valid(put), .in_ready(level_ready),
      .in_data(zero_here ? 16'd0 : 16'(queue_word) + lo),
      .out_valid, .out_ready, .out_data(out_level)
  );
endmodule
