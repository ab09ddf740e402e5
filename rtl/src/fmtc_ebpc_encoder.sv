// Levels to chunks of EBPC (docs/stream_format.md, "EBPC chunks").
//
// The marks of all values come first in the string, the octuples behind them. Marks leave at once, a
// value a cycle; meanwhile the words that are not zero's are coded in octuples, and these bits wait in
// a memory until the marks are complete. They then follow 32 a cycle.
module fmtc_ebpc_encoder #(
    parameter int VALUES = 4096,   // of a chunk, at most; a power of two from 32 on
    parameter int WORD_BITS = 12,  // at most, 9 to 12
    localparam int CountBits = $clog2(VALUES) + 1
) (
    input logic clk,
    input logic rst,

    // While nothing is encoded.
    input logic        [ 3:0] word_bits,  // 1 to WORD_BITS
    input logic signed [15:0] lo,

    input  logic                 chunk_valid,
    output logic                 chunk_ready,
    input  logic [CountBits-1:0] chunk_values,  // 1 to VALUES

    input  logic               in_valid,
    output logic               in_ready,
    input  logic signed [15:0] in_level,

    // The words of the payload (fmtc_packer).
    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_data,
    output logic [ 1:0] out_begin,
    output logic [ 2:0] out_end,
    output logic        out_last,

    // One a chunk, after its last word: whether a level had no word. The payload is then no stream.
    output logic done_valid,
    input  logic done_ready,
    output logic done_bad
);
  localparam int LevelBits = 17;

  typedef enum logic [2:0] {StIdle, StValues, StOctuples, StAppend, StTail, StDone} state_t;
  state_t state;
  logic [CountBits-1:0] left;
  logic bad;

  // -- Marks --------------------------------------------------------------------------------------
  logic mark_ready, mark_valid, mark_last;
  logic [31:0] mark_bits;
  logic [5:0] mark_length;
  logic [3:0] zeros;   // values 0 that have no mark yet
  logic fire, zero, last_value, ends_run;
  logic octuple_here;  // one is full, or the chunk's last
  logic octuple_ready, planes_busy, planes_empty, start;

  assign chunk_ready = state == StIdle;
  assign in_ready = state == StValues && (!mark_valid || mark_ready) && octuple_ready;
  assign fire = in_valid && in_ready;
  assign zero = in_level == '0;
  assign last_value = left == CountBits'(1);
  assign ends_run = zero && (zeros == 4'd15 || last_value);

  // -- Words --------------------------------------------------------------------------------------
  logic [LevelBits-1:0] word;
  logic [WORD_BITS-1:0] moved, moved_before, first;
  logic [WORD_BITS:0] difference;
  logic [6:0][WORD_BITS:0] differences;
  logic [2:0] filled;       // words of the octuple so far

  assign word = LevelBits'(in_level) - LevelBits'(lo);
  assign moved = word[WORD_BITS-1:0] << (4'(WORD_BITS) - word_bits);
  assign difference = {1'b0, moved} - {1'b0, moved_before};
  // While the chunk's values come, an octuple is taken as soon as it is full.
  assign octuple_ready = !octuple_here || start;
  assign start = octuple_here && !planes_busy;

  logic put_word;
  assign put_word = fire && !zero;
  always_ff @(posedge clk) begin
    if (rst) begin
      filled <= '0;
      octuple_here <= 1'b0;
    end else begin
      if (start) octuple_here <= 1'b0;
      if (put_word) begin
        filled <= filled + 1'b1;
        if (filled == 3'd7) octuple_here <= 1'b1;
      end
      // What is left over when the values are over.
      if (state == StValues && fire && last_value && (put_word ? filled != 3'd7 : filled != '0)) begin
        octuple_here <= 1'b1;
        filled <= '0;
      end
    end
    if (put_word) begin
      moved_before <= moved;
      if (filled == '0) first <= word[WORD_BITS-1:0];
    end
    for (int k = 0; k < 7; ++k) begin
      if (put_word && filled == '0) differences[k] <= '0;
      else if (put_word && filled == 3'(k + 1)) differences[k] <= difference;
    end
  end

  logic code_valid;
  logic [21:0] code_bits;
  logic [4:0] code_length;
  fmtc_ebpc_planes #(.WORD_BITS(WORD_BITS)) planes (
      .clk, .rst, .word_bits, .start, .first, .differences,
      .busy(planes_busy), .empty(planes_empty),
      .out_valid(code_valid), .out_bits(code_bits), .out_length(code_length)
  );

  // -- Their bits, until the marks are complete ---------------------------------------------------
  localparam int Depth = VALUES / 2;  // words: at most 14.5 bits a value
  localparam int DepthBits = $clog2(Depth);
  logic [31:0] memory[Depth];
  logic [31:0] gathered;
  logic [4:0] gathered_length;
  logic [DepthBits:0] written, reader;
  logic [53:0] wide;
  logic [5:0] total;
  assign wide = {22'd0, gathered} | {32'd0, code_bits} << gathered_length;
  assign total = {1'b0, gathered_length} + {1'b0, code_length};

  always_ff @(posedge clk) begin
    if (code_valid && total[5]) memory[written[DepthBits-1:0]] <= wide[31:0];
    if (rst || state == StIdle) begin
      written <= '0;
      gathered <= '0;
      gathered_length <= '0;
    end else if (code_valid) begin
      if (total[5]) written <= written + 1'b1;
      gathered <= total[5] ? {10'd0, wide[53:32]} : wide[31:0];
      gathered_length <= total[4:0];
    end
  end

  // -- The string ---------------------------------------------------------------------------------
  // Marks, words of the memory, what is not in the memory.
  logic [31:0] word_read, string_bits;
  logic [5:0] string_length;
  logic read_valid, string_valid, string_last, packer_ready, advance;
  assign advance = !read_valid || packer_ready;
  always_ff @(posedge clk) begin
    if (rst || state == StIdle) begin
      reader <= '0;
      read_valid <= 1'b0;
    end else if (state == StAppend && advance) begin
      read_valid <= reader != written;
      if (reader != written) reader <= reader + 1'b1;
    end
    if (advance) word_read <= memory[reader[DepthBits-1:0]];
  end

  always_comb begin
    string_valid = mark_valid;
    string_bits = mark_bits;
    string_length = mark_length;
    string_last = 1'b0;
    if (state == StAppend) begin
      string_valid = read_valid;
      string_bits = word_read;
      string_length = 6'd32;
    end else if (state == StTail) begin
      string_valid = 1'b1;
      string_bits = gathered;
      string_length = {1'b0, gathered_length};
      string_last = 1'b1;
    end
  end
  assign mark_ready = packer_ready;
  assign mark_last = fire && last_value;

  logic word_valid, word_ready;
  fmtc_packer #(.BITS(32)) packer (
      .clk, .rst, .in_valid(string_valid), .in_ready(packer_ready), .in_bits(string_bits),
      .in_length(string_length), .in_join(1'b0), .in_last(string_last),
      .out_valid(word_valid), .out_ready(word_ready), .out_data, .out_begin, .out_end, .out_last
  );
  assign out_valid = word_valid;
  assign word_ready = out_ready;
  assign done_valid = state == StDone && !word_valid;
  assign done_bad = bad;

  always_ff @(posedge clk) begin
    if (rst) begin
      mark_valid <= 1'b0;
    end else if (!mark_valid || mark_ready) begin
      mark_valid <= fire && (!zero || ends_run);
    end
    if (!mark_valid || mark_ready) begin
      // The run of zeros before a value that is not, then its mark; or a run alone.
      mark_bits <= '0;
      if (zero) begin
        mark_bits[4:0] <= {zeros, 1'b0};
        mark_length <= 6'd5;
      end else if (zeros == '0) begin
        mark_bits[0] <= 1'b1;
        mark_length <= 6'd1;
      end else begin
        mark_bits[5:0] <= {1'b1, zeros - 4'd1, 1'b0};
        mark_length <= 6'd6;
      end
    end
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StIdle;
    end else begin
      unique case (state)
        StIdle: if (chunk_valid) state <= StValues;
        StValues: if (mark_last) state <= StOctuples;
        StOctuples: if (!octuple_here && planes_empty && !mark_valid) state <= StAppend;
        StAppend: if (reader == written && (!read_valid || packer_ready)) state <= StTail;
        StTail: if (packer_ready) state <= StDone;
        default: if (done_valid && done_ready) state <= StIdle;
      endcase
    end
    if (state == StIdle) begin
      left <= chunk_values;
      zeros <= '0;
      bad <= 1'b0;
    end else if (fire) begin
      left <= left - 1'b1;
      zeros <= zero && !ends_run ? zeros + 1'b1 : '0;
      if ((word >> word_bits) != '0) bad <= 1'b1;
    end
  end

  logic unused;
  assign unused = &{1'b0, reader[DepthBits]};
endmodule
