// Levels to Huffman sub-streams, a value a cycle (docs/stream_format.md, "Huffman chunks").
//
// A table is an entry for each symbol, level - lo: {length, code}, 4 and 15 bits, the first bit of
// the code in bit 0; length 0 for a symbol without a code. A sub-stream with a level that has no code
// is written without it, and `done_bad` tells so.
module fmtc_huffman_encoder #(
    parameter int TABLES = 4,       // a power of two, 1 to 16
    parameter int SYMBOLS = 256,    // of a table, a power of two; those it has not have length 0
    parameter int COUNT_BITS = 17,  // of a run's values, and of a sub-stream's bytes
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1,
    localparam int SymbolBits = $clog2(SYMBOLS)
) (
    input logic clk,
    input logic rst,

    // Tables and the level of symbol 0, while nothing is encoded.
    input logic                  table_write,
    input logic [ TableBits-1:0] table_number,
    input logic [SymbolBits-1:0] table_symbol,
    input logic [          18:0] table_entry,
    input logic signed [15:0]    lo,

    // The runs of values with one table that a sub-stream consists of; count 0 for an empty one.
    // With run_join, of a sub-stream's first run, it begins at the byte where the one before ended.
    input  logic                  run_valid,
    output logic                  run_ready,
    input  logic [ TableBits-1:0] run_table,
    input  logic [COUNT_BITS-1:0] run_count,
    input  logic                  run_join,
    input  logic                  run_last,

    input  logic               in_valid,
    output logic               in_ready,
    input  logic signed [15:0] in_level,

    // The words of the sub-streams (fmtc_packer).
    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_data,
    output logic [ 1:0] out_begin,
    output logic [ 2:0] out_end,
    output logic        out_last,

    // One a sub-stream, after its last word.
    output logic                  done_valid,
    input  logic                  done_ready,
    output logic [COUNT_BITS-1:0] done_bytes,
    output logic                  done_bad
);
  // -- Runs ---------------------------------------------------------------------------------------
  logic run_here, last_here, join_here, one_left, none_left;
  logic [TableBits-1:0] table_here;
  logic fire, ends_empty;

  // Codes that are begun and not yet in a word.
  localparam int Room = 8;
  logic [$clog2(Room):0] room;
  logic code_valid, code_ready;

  assign in_ready = run_here && !none_left && room != '0;
  assign fire = in_ready && in_valid;
  // The end of a sub-stream whose last run is empty is a code of no bits.
  assign ends_empty = run_here && none_left && last_here && room != '0;

  logic unused_ends, unused_load;
  logic [TableBits-1:0] unused_table;
  fmtc_runs #(.TABLE_BITS(TableBits), .COUNT_BITS(COUNT_BITS)) runs (
      .clk, .rst, .run_valid, .run_ready, .run_table, .run_count, .run_join, .run_last,
      .here(run_here), .none_left, .one_left, .table_here, .join_here, .last_here,
      .ends(unused_ends), .step(fire), .skip(!last_here || room != '0), .hold(1'b0),
      .load(unused_load), .next_table(unused_table)
  );

  logic issue;
  assign issue = fire || ends_empty;
  always_ff @(posedge clk) begin
    if (rst) room <= ($clog2(Room) + 1)'(Room);
    else if (issue && !(code_valid && code_ready)) room <= room - 1'b1;
    else if (!issue && code_valid && code_ready) room <= room + 1'b1;
  end

  // -- Codes --------------------------------------------------------------------------------------
  logic [18:0] entries[TABLES*SYMBOLS];
  logic [2:0] valid;  // of the three stages below
  logic [2:0] last, join_before, none;
  logic outside_read, outside;  // no symbol of a table
  logic [16:0] symbol;
  logic [TableBits-1:0] symbol_table;
  logic [18:0] entry_read, entry;

  always_ff @(posedge clk) begin
    if (table_write)
      entries[($clog2(TABLES)+SymbolBits)'({table_number, table_symbol})] <= table_entry;
  end

  always_ff @(posedge clk) begin
    symbol <= 17'(in_level) - 17'(lo);
    symbol_table <= table_here;
    entry_read <= entries[($clog2(TABLES)+SymbolBits)'({symbol_table, symbol[SymbolBits-1:0]})];
    entry <= entry_read;
    last <= {last[1:0], ends_empty || (last_here && one_left)};
    join_before <= {join_before[1:0], join_here};
    none <= {none[1:0], ends_empty};
    outside_read <= symbol[16:SymbolBits] != '0;
    outside <= outside_read;
  end

  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= {valid[1:0], issue};
  end

  logic [3:0] length;
  logic no_code;
  assign no_code = !none[2] && (outside || entry[18:15] == 4'd0);
  assign length = none[2] || outside ? 4'd0 : entry[18:15];

  logic always_ready, code_join, code_last, code_bad;
  logic [14:0] code;
  logic [3:0] code_length;
  fmtc_fifo #(.WIDTH(22), .DEPTH(Room)) codes (
      .clk, .rst, .in_valid(valid[2]), .in_ready(always_ready),
      .in_data({no_code, join_before[2], last[2], length, length == 4'd0 ? 15'd0 : entry[14:0]}),
      .out_valid(code_valid), .out_ready(code_ready),
      .out_data({code_bad, code_join, code_last, code_length, code})
  );

  // -- Words --------------------------------------------------------------------------------------
  // The next sub-stream's codes wait until this one's end was told.
  logic packer_ready, closing;
  assign code_ready = packer_ready && !closing;

  logic word_valid, word_ready;
  fmtc_packer #(.BITS(15)) packer (
      .clk, .rst,
      .in_valid(code_valid && !closing), .in_ready(packer_ready), .in_bits(code),
      .in_length(code_length), .in_join(code_join), .in_last(code_last),
      .out_valid(word_valid), .out_ready(word_ready), .out_data, .out_begin, .out_end, .out_last
  );
  assign out_valid = word_valid && !done_valid;
  assign word_ready = out_ready && !done_valid;

  always_ff @(posedge clk) begin
    if (rst) begin
      closing <= 1'b0;
      done_valid <= 1'b0;
      done_bad <= 1'b0;
      done_bytes <= '0;
    end else begin
      if (code_valid && code_ready) begin
        closing <= code_last;
        if (code_bad) done_bad <= 1'b1;
      end
      if (word_valid && word_ready) begin
        done_bytes <= done_bytes + COUNT_BITS'(out_end - {1'b0, out_begin});
        done_valid <= out_last;
      end
      if (done_valid && done_ready) begin
        done_valid <= 1'b0;
        done_bad <= 1'b0;
        done_bytes <= '0;
        closing <= 1'b0;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, always_ready, unused_ends, unused_load, unused_table};
endmodule
