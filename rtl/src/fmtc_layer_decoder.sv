// Streams to a layer's input: Huffman decoder and inverse transform, a channel of a pixel a cycle.
// The inverse of fmtc_layer_encoder.
module fmtc_layer_decoder #(
    parameter int LANES = 64,     // see fmtc_transform
    parameter int GROUPS = 1,
    parameter int ROWS = 64,      // channels that leave
    parameter int PIXELS = 64,
    parameter int TABLES = 4,     // see fmtc_huffman_decoder
    parameter int LEVELS = 1024,
    parameter int LEVEL_BITS = 9,  // signed, of the levels in the tables
    localparam int SumBits = 25,
    localparam int ColumnBits = $clog2(LANES * GROUPS) + 1,
    localparam int RowBits = $clog2(ROWS) + 1,
    localparam int PixelBits = $clog2(PIXELS) + 1,
    localparam int CountBits = PixelBits,
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1
) (
    input logic clk,
    input logic rst,

    // The inverse transform (fmtc_transform, kinds 0 and 1); kind 3: the table of component `row`.
    input logic                         table_write,
    input logic        [           1:0] table_kind,
    input logic        [           8:0] table_row,
    input logic        [           8:0] table_column,
    input logic signed [   SumBits-1:0] table_data,
    input logic        [   RowBits-1:0] rows,     // channels
    input logic        [ColumnBits-1:0] columns,  // components
    input logic signed [   SumBits-1:0] least,
    input logic signed [   SumBits-1:0] most,
    // The codes (fmtc_huffman_decoder).
    input logic                         code_write,
    input logic        [           1:0] code_kind,
    input logic        [ TableBits-1:0] code_table,
    input logic [$clog2(LEVELS)+3:0]    code_index,
    input logic        [          15:0] code_data,

    input  logic                 tile_valid,
    output logic                 tile_ready,
    input  logic [PixelBits-1:0] tile_pixels,  // 1 to PIXELS
    input  logic                 in_valid,
    output logic                 in_ready,
    input  logic [         31:0] in_data,
    input  logic [          1:0] in_begin,
    input  logic [          2:0] in_end,
    input  logic                 in_last,

    output logic                      out_valid,
    input  logic                      out_ready,
    output logic signed [SumBits-1:0] out_value,

    // One a tile; where it is bad, the tile's values mean nothing. It may come before they do.
    output logic done_valid,
    input  logic done_ready,
    output logic done_bad
);
  localparam int ColumnsMost = LANES * GROUPS;

  logic [1:0] tiles_ready;
  logic here_valid, here_ready, runs_valid, runs_ready;
  logic [PixelBits-1:0] here_pixels, runs_pixels;
  assign tile_ready = &tiles_ready;
  fmtc_fifo #(.WIDTH(PixelBits), .DEPTH(4)) tiles_in (
      .clk, .rst, .in_valid(tile_valid && tile_ready), .in_ready(tiles_ready[0]),
      .in_data(tile_pixels),
      .out_valid(runs_valid), .out_ready(runs_ready), .out_data(runs_pixels)
  );
  fmtc_fifo #(.WIDTH(PixelBits), .DEPTH(4)) tiles_out (
      .clk, .rst, .in_valid(tile_valid && tile_ready), .in_ready(tiles_ready[1]),
      .in_data(tile_pixels),
      .out_valid(here_valid), .out_ready(here_ready), .out_data(here_pixels)
  );

  logic run_valid, run_ready, run_last;
  logic [TableBits-1:0] run_table;
  logic [PixelBits-1:0] run_count;
  fmtc_layer_runs #(.ROWS(ColumnsMost), .TABLE_BITS(TableBits), .PIXEL_BITS(PixelBits)) runs (
      .clk, .rst, .table_write(table_write && table_kind == 2'd3),
      .table_row(table_row[ColumnBits-2:0]), .table_of(table_data[TableBits-1:0]), .rows(columns),
      .tile_valid(runs_valid), .tile_ready(runs_ready), .tile_pixels(runs_pixels),
      .run_valid, .run_ready, .run_table, .run_count, .run_last
  );

  logic level_valid, level_ready, transform_ready, first;
  logic signed [15:0] level;
  fmtc_huffman_decoder #(.TABLES(TABLES), .LEVELS(LEVELS), .COUNT_BITS(CountBits)) coder (
      .clk, .rst, .table_write(code_write), .table_kind(code_kind), .table_number(code_table),
      .table_index(code_index), .table_data(code_data), .run_valid, .run_ready, .run_table,
      .run_count, .run_last,
      .in_valid, .in_ready, .in_data, .in_begin, .in_end, .in_last,
      .out_valid(level_valid), .out_ready(level_ready), .out_level(level),
      .done_valid, .done_ready, .done_bad
  );

  // A level that is first of a tile came from its run, so that here_pixels are there.
  assign level_ready = transform_ready;
  assign here_ready = first && level_valid && transform_ready;

  fmtc_transform #(
      .INVERSE(1'b1), .LANES(LANES), .GROUPS(GROUPS), .ROWS(ROWS), .PIXELS(PIXELS),
      .IN_BITS(LEVEL_BITS)
  ) transform (
      .clk, .rst, .table_write(table_write && table_kind != 2'd3), .table_kind, .table_row,
      .table_column, .table_data(table_data), .rows, .columns, .first_limit(least),
      .last_limit(most), .last_index('0), .reciprocal('0), .shift('0), .lo('0),
      .tile_pixels(here_pixels), .in_valid(level_valid), .in_ready(transform_ready),
      .in_value(level[LEVEL_BITS-1:0]), .in_first(first),
      .out_valid, .out_ready, .out_value(out_value)
  );

  logic unused;
  assign unused = &{1'b0, here_valid, level};
endmodule
