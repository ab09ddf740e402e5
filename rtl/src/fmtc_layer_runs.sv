// The runs of a layer's tiles: in each, a run of the tile's pixels for every component, with the
// component's table.
module fmtc_layer_runs #(
    parameter int ROWS = 64,       // components, at most; a power of two
    parameter int TABLE_BITS = 2,
    parameter int PIXEL_BITS = 7,
    localparam int RowBits = $clog2(ROWS) + 1
) (
    input logic clk,
    input logic rst,

    input logic                  table_write,
    input logic [   RowBits-2:0] table_row,
    input logic [TABLE_BITS-1:0] table_of,
    input logic [   RowBits-1:0] rows,

    input  logic                  tile_valid,
    output logic                  tile_ready,
    input  logic [PIXEL_BITS-1:0] tile_pixels,

    output logic                  run_valid,
    input  logic                  run_ready,
    output logic [TABLE_BITS-1:0] run_table,
    output logic [PIXEL_BITS-1:0] run_count,
    output logic                  run_last
);
  logic [TABLE_BITS-1:0] tables[ROWS];
  logic [RowBits-1:0] row;

  assign run_valid = tile_valid;
  assign run_table = tables[row[RowBits-2:0]];
  assign run_count = tile_pixels;
  assign run_last = row == rows - 1'b1;
  assign tile_ready = run_ready && run_last;

  always_ff @(posedge clk) begin
    if (table_write) tables[table_row] <= table_of;
    if (rst) row <= '0;
    else if (run_valid && run_ready) row <= run_last ? '0 : row + 1'b1;
  end

  logic unused;
  assign unused = &{1'b0, row[RowBits-1]};
endmodule
