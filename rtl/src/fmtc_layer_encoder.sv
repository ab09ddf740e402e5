// A layer's output to streams: transform, quantiser and Huffman coder, a component of a pixel a cycle.
//
// A tile of pixels, channels of a pixel after each other, makes one sub-stream, the payload of one
// chunk with a tensor [components, 1, pixels]. A tile leaves while the next comes in.
module fmtc_layer_encoder #(
    parameter int LANES = 64,       // see fmtc_transform
    parameter int GROUPS = 1,
    parameter int ROWS = 64,
    parameter int PIXELS = 64,
    parameter int TABLES = 4,       // see fmtc_huffman_encoder
    parameter int SYMBOLS = 256,
    localparam int SumBits = 25,
    localparam int InBits = 9,
    localparam int LevelBits = 8,
    localparam int ColumnBits = $clog2(LANES * GROUPS) + 1,
    localparam int RowBits = $clog2(ROWS) + 1,
    localparam int PixelBits = $clog2(PIXELS) + 1,
    localparam int CountBits = $clog2(ROWS * PIXELS) + 2,
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1
) (
    input logic clk,
    input logic rst,

    // The transform and its quantiser (fmtc_transform); kind 3: the table of component `row`.
    input logic                         table_write,
    input logic        [           1:0] table_kind,
    input logic        [           8:0] table_row,
    input logic        [           8:0] table_column,
    input logic signed [   SumBits-1:0] table_data,
    input logic        [   RowBits-1:0] rows,
    input logic        [ColumnBits-1:0] columns,
    input logic signed [   SumBits-1:0] first_threshold,
    input logic signed [   SumBits-1:0] last_threshold,
    input logic        [ LevelBits-1:0] last_index,
    input logic        [          16:0] reciprocal,
    input logic        [           5:0] shift,
    input logic signed [          15:0] lo,
    // The codes (fmtc_huffman_encoder).
    input logic                         code_write,
    input logic        [ TableBits-1:0] code_table,
    input logic [$clog2(SYMBOLS)-1:0]   code_symbol,
    input logic        [          18:0] code_entry,

    input  logic                 tile_valid,
    output logic                 tile_ready,
    input  logic [PixelBits-1:0] tile_pixels,  // 1 to PIXELS
    input  logic                 in_valid,
    output logic                 in_ready,
    input  logic signed [InBits-1:0] in_value,

    output logic        out_valid,
    input  logic        out_ready,
    output logic [31:0] out_data,
    output logic [ 1:0] out_begin,
    output logic [ 2:0] out_end,
    output logic        out_last,

    output logic                 done_valid,
    input  logic                 done_ready,
    output logic [CountBits-1:0] done_bytes,
    output logic                 done_bad
);
  // A tile is told to both ends.
  logic [1:0] tiles_ready;
  logic here_valid, here_ready, runs_valid, runs_ready;
  logic [PixelBits-1:0] here_pixels, runs_pixels;
  assign tile_ready = &tiles_ready;
  fmtc_fifo #(.WIDTH(PixelBits), .DEPTH(4)) tiles_in (
      .clk, .rst, .in_valid(tile_valid && tile_ready), .in_ready(tiles_ready[0]),
      .in_data(tile_pixels),
      .out_valid(here_valid), .out_ready(here_ready), .out_data(here_pixels)
  );
  fmtc_fifo #(.WIDTH(PixelBits), .DEPTH(4)) tiles_out (
      .clk, .rst, .in_valid(tile_valid && tile_ready), .in_ready(tiles_ready[1]),
      .in_data(tile_pixels),
      .out_valid(runs_valid), .out_ready(runs_ready), .out_data(runs_pixels)
  );

  logic transform_ready, first, level_valid, level_ready;
  logic signed [15:0] level;
  logic may_come;
  assign may_come = !first || here_valid;
  assign in_ready = transform_ready && may_come;
  assign here_ready = first && in_valid && in_ready;

  fmtc_transform #(
      .LANES(LANES), .GROUPS(GROUPS), .ROWS(ROWS), .PIXELS(PIXELS), .IN_BITS(InBits),
      .LEVEL_BITS(LevelBits)
  ) transform (
      .clk, .rst, .table_write(table_write && table_kind != 2'd3), .table_kind, .table_row,
      .table_column, .table_data(table_data), .rows, .columns, .first_limit(first_threshold),
      .last_limit(last_threshold), .last_index, .reciprocal, .shift, .lo(lo),
      .tile_pixels(here_pixels), .in_valid(in_valid && may_come), .in_ready(transform_ready),
      .in_value(in_value), .in_first(first),
      .out_valid(level_valid), .out_ready(level_ready), .out_value(level)
  );

  logic run_valid, run_ready, run_last;
  logic [TableBits-1:0] run_table;
  logic [PixelBits-1:0] run_count;
  fmtc_layer_runs #(.ROWS(ROWS), .TABLE_BITS(TableBits), .PIXEL_BITS(PixelBits)) runs (
      .clk, .rst, .table_write(table_write && table_kind == 2'd3),
      .table_row(table_row[RowBits-2:0]), .table_of(table_data[TableBits-1:0]), .rows,
      .tile_valid(runs_valid), .tile_ready(runs_ready), .tile_pixels(runs_pixels),
      .run_valid, .run_ready, .run_table, .run_count, .run_last
  );

  fmtc_huffman_encoder #(.TABLES(TABLES), .SYMBOLS(SYMBOLS), .COUNT_BITS(CountBits)) coder (
      .clk, .rst, .table_write(code_write), .table_number(code_table), .table_symbol(code_symbol),
      .table_entry(code_entry), .lo(lo), .run_valid, .run_ready, .run_table,
      .run_count(CountBits'(run_count)), .run_join(1'b0), .run_last,
      .in_valid(level_valid), .in_ready(level_ready), .in_level(level),
      .out_valid, .out_ready, .out_data, .out_begin, .out_end, .out_last,
      .done_valid, .done_ready, .done_bytes, .done_bad
  );
endmodule
