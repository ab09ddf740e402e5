// The channel transform of tiles of pixels, LANES products a cycle: a row of the matrix times a pixel
// plus the row's offset. The forward transform takes pixel by pixel, gives component by component (as
// streams have them) and quantises; the inverse takes component by component, gives pixel by pixel
// and limits values, as an activation does.
//
// With columns up to LANES that is a component of a pixel a cycle, else one in ceil(columns / LANES)
// cycles. All is integer: the products are exact, and those of the core are, too, as long as sums
// stay below 2^24.
module fmtc_transform #(
    parameter bit INVERSE = 0,
    parameter int LANES = 64,        // a power of two
    parameter int GROUPS = 1,        // LANES * GROUPS columns at most; a power of two
    parameter int ROWS = 64,         // at most; a power of two
    parameter int PIXELS = 64,       // of a tile, at most; a power of two
    parameter int IN_BITS = 9,       // signed
    parameter int LEVEL_BITS = 8,    // of the index of a level
    localparam int SumBits = 25,
    localparam int OutBits = INVERSE ? SumBits : 16,
    localparam int ColumnBits = $clog2(LANES * GROUPS) + 1,
    localparam int RowBits = $clog2(ROWS) + 1,
    localparam int PixelBits = $clog2(PIXELS) + 1
) (
    input logic clk,
    input logic rst,

    // What a layer needs, written while no tile is under way. kind 0: matrix[row][column], signed 8
    // bits; 1: the row's offset; 2: thresholds[row] (fmtc_quantizer).
    input logic                        table_write,
    input logic        [          1:0] table_kind,
    input logic        [          8:0] table_row,
    input logic        [          8:0] table_column,
    input logic signed [  SumBits-1:0] table_data,
    input logic        [   RowBits-1:0] rows,
    input logic        [ColumnBits-1:0] columns,
    // Forward: of the quantiser. Inverse: first_limit and last_limit are the least and most values.
    input logic signed [   SumBits-1:0] first_limit,
    input logic signed [   SumBits-1:0] last_limit,
    input logic        [LEVEL_BITS-1:0] last_index,
    input logic        [          16:0] reciprocal,
    input logic        [           5:0] shift,
    input logic signed [          15:0] lo,

    // The pixels of the tile whose first value comes.
    input  logic        [PixelBits-1:0] tile_pixels,
    input  logic                        in_valid,
    output logic                        in_ready,
    input  logic signed [  IN_BITS-1:0] in_value,
    output logic                        in_first,  // the next value is the first of a tile

    output logic                      out_valid,
    input  logic                      out_ready,
    output logic signed [OutBits-1:0] out_value
);
  localparam int GroupBits = GROUPS > 1 ? $clog2(GROUPS) : 1;
  localparam int WeightBits = 8;
  localparam int ProductBits = IN_BITS + WeightBits;
  localparam int TreeCycles = ($clog2(LANES) + 1) / 2;

  // -- The order of products ----------------------------------------------------------------------
  logic full, release_tile, fire, last_group, last_pixel, last_row;
  logic [PixelBits-1:0] full_pixels, pixel;
  logic [RowBits-1:0] row;
  logic [GroupBits-1:0] group, groups_less_1;
  logic [LANES-1:0][IN_BITS-1:0] values;

  fmtc_tile #(
      .LANES(LANES), .GROUPS(GROUPS), .PIXELS(PIXELS), .BITS(IN_BITS), .BY_CHANNEL(INVERSE)
  ) tile (
      .clk, .rst, .columns, .pixels(tile_pixels), .in_valid, .in_ready, .in_value(in_value), .in_first,
      .full, .full_pixels, .release_tile, .pixel(pixel[PixelBits-2:0]), .group, .values
  );

  // Values that are begun and not yet taken from the output.
  localparam int Room = 32;
  logic [$clog2(Room):0] room;
  logic begins, taken;

  if (GROUPS > 1) begin : g_groups
    assign groups_less_1 = GroupBits'((columns - 1'b1) >> $clog2(LANES));
  end else begin : g_one_group
    assign groups_less_1 = '0;
  end
  assign last_group = group == groups_less_1;
  assign last_pixel = pixel == full_pixels - 1'b1;
  assign last_row = row == rows - 1'b1;
  assign fire = full && (room != '0 || group != '0);
  assign begins = fire && group == '0;
  assign taken = out_valid && out_ready;
  assign release_tile = fire && last_group && last_pixel && last_row;

  always_ff @(posedge clk) begin
    if (rst) begin
      {group, pixel, row} <= '0;
      room <= ($clog2(Room) + 1)'(Room);
    end else begin
      if (fire) group <= last_group ? '0 : group + 1'b1;
      if (fire && last_group) begin
        if (INVERSE) begin
          row <= last_row ? '0 : row + 1'b1;
          if (last_row) pixel <= last_pixel ? '0 : pixel + 1'b1;
        end else begin
          pixel <= last_pixel ? '0 : pixel + 1'b1;
          if (last_pixel) row <= last_row ? '0 : row + 1'b1;
        end
      end
      if (begins && !taken) room <= room - 1'b1;
      else if (!begins && taken) room <= room + 1'b1;
    end
  end

  // -- Products and their sum ---------------------------------------------------------------------
  localparam int MatrixDepth = ROWS * GROUPS;
  logic [LANES*WeightBits-1:0] matrix[MatrixDepth];
  logic [LANES*WeightBits-1:0] matrix_read, weights;
  logic [$clog2(MatrixDepth)-1:0] write_address, read_address;
  localparam int LaneBits = $clog2(LANES);
  if (GROUPS > 1) begin : g_matrix_groups
    assign write_address = {table_row[RowBits-2:0], table_column[LaneBits+GroupBits-1:LaneBits]};
    assign read_address = {row[RowBits-2:0], group};
  end else begin : g_matrix_of_one
    assign write_address = table_row[RowBits-2:0];
    assign read_address = row[RowBits-2:0];
  end

  always_ff @(posedge clk) begin
    for (int i = 0; i < LANES; ++i) begin
      if (table_write && table_kind == 2'd0 && table_column[LaneBits-1:0] == LaneBits'(i))
        matrix[write_address][i*WeightBits+:WeightBits] <= table_data[WeightBits-1:0];
    end
    matrix_read <= matrix[read_address];
    weights <= matrix_read;
  end

  logic signed [LANES-1:0][ProductBits-1:0] products;
  for (genvar i = 0; i < LANES; ++i) begin : g_product
    logic signed [IN_BITS-1:0] value;
    logic signed [WeightBits-1:0] weight;
    assign value = values[i];
    assign weight = weights[i*WeightBits+:WeightBits];
    always_ff @(posedge clk) products[i] <= value * weight;
  end

  logic signed [ProductBits+$clog2(LANES)-1:0] sum;
  fmtc_sum #(.N(LANES), .BITS(ProductBits)) tree (.clk, .values(products), .sum);

  // What is known of a product when it is begun, until its sum is there.
  localparam int SumCycles = 3 + TreeCycles;
  logic [SumCycles:1] fired, is_first, is_last;
  logic [SumCycles:1][RowBits-2:0] row_of;
  logic signed [SumBits-1:0] offsets[ROWS];
  logic signed [SumBits-1:0] offset, total;
  logic total_valid;

  always_ff @(posedge clk) begin
    if (rst) fired <= '0;
    else fired <= {fired[SumCycles-1:1], fire};
    is_first <= {is_first[SumCycles-1:1], group == '0};
    is_last <= {is_last[SumCycles-1:1], last_group};
    row_of <= {row_of[SumCycles-1:1], row[RowBits-2:0]};
  end

  always_ff @(posedge clk) begin
    if (table_write && table_kind == 2'd1) offsets[table_row[RowBits-2:0]] <= table_data;
    offset <= offsets[row_of[SumCycles-1]];
    if (fired[SumCycles])
      total <= (is_first[SumCycles] ? offset : total) + SumBits'(sum);
    if (rst) total_valid <= 1'b0;
    else total_valid <= fired[SumCycles] && is_last[SumCycles];
  end

  // -- Levels or values ---------------------------------------------------------------------------
  logic result_valid, always_ready;
  logic signed [OutBits-1:0] result;
  if (INVERSE) begin : g_limit
    always_ff @(posedge clk) begin
      result <= total < first_limit ? first_limit : total > last_limit ? last_limit : total;
      if (rst) result_valid <= 1'b0;
      else result_valid <= total_valid;
    end
    logic unused;
    assign unused = &{1'b0, last_index, reciprocal, shift, lo};
  end else begin : g_quantize
    localparam int Cycles = 7;
    logic [Cycles:1] valid;
    fmtc_quantizer #(.SUM_BITS(SumBits), .LEVEL_BITS(LEVEL_BITS)) quantizer (
        .clk, .table_write(table_write && table_kind == 2'd2),
        .table_index(table_row[LEVEL_BITS-1:0]), .table_threshold(table_data),
        .first_threshold(first_limit), .last_threshold(last_limit), .last_index,
        .reciprocal, .shift, .lo, .sum(total), .level(result)
    );
    always_ff @(posedge clk) begin
      if (rst) valid <= '0;
      else valid <= {valid[Cycles-1:1], total_valid};
    end
    assign result_valid = valid[Cycles];
  end

  fmtc_fifo #(.WIDTH(OutBits), .DEPTH(Room)) results (
      .clk, .rst, .in_valid(result_valid), .in_ready(always_ready), .in_data(result),
      .out_valid, .out_ready, .out_data(out_value)
  );

  logic unused;
  assign unused = &{1'b0, always_ready, table_row, table_column, row[RowBits-1],
                    pixel[PixelBits-1]};
endmodule
