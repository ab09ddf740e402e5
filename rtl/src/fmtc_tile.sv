// Two tiles of pixels, one that is written value by value and one whose pixels are read whole: also
// a corner turn, as values may come pixel by pixel or channel by channel.
//
// A pixel is `columns` values, in groups of LANES that are read together.
module fmtc_tile #(
    parameter int LANES = 64,
    parameter int GROUPS = 1,       // of a pixel, a power of two
    parameter int PIXELS = 64,      // of a tile, at most; a power of two
    parameter int BITS = 9,
    parameter bit BY_CHANNEL = 0,   // channel by channel; otherwise pixel by pixel
    localparam int ColumnBits = $clog2(LANES * GROUPS) + 1,
    localparam int PixelBits = $clog2(PIXELS) + 1,
    localparam int GroupBits = GROUPS > 1 ? $clog2(GROUPS) : 1
) (
    input logic clk,
    input logic rst,

    input logic [ColumnBits-1:0] columns,  // 1 to LANES * GROUPS
    // Of the tile whose first value comes, 1 to PIXELS.
    input logic [ PixelBits-1:0] pixels,

    input  logic            in_valid,
    output logic            in_ready,
    input  logic [BITS-1:0] in_value,
    output logic            in_first,  // the next value is the first of a tile

    // The tile to read: whether there is one, and its pixels.
    output logic                       full,
    output logic [      PixelBits-1:0] full_pixels,
    input  logic                       release_tile,
    input  logic [      PixelBits-2:0] pixel,
    input  logic [      GroupBits-1:0] group,
    // Two cycles later.
    output logic [LANES-1:0][BITS-1:0] values
);
  localparam int Depth = 2 * PIXELS * GROUPS;
  localparam int LaneBits = LANES > 1 ? $clog2(LANES) : 1;

  logic written, reading;     // the tile, of the two, that is written or read
  logic [1:0] is_full;
  logic [PixelBits-1:0] pixels_of[2];
  logic [PixelBits-1:0] pixels_here;  // of the tile that is written
  logic [ColumnBits-1:0] column;
  logic [PixelBits-1:0] place;
  logic write, last_column, last_pixel;

  assign in_ready = !is_full[written];
  assign write = in_valid && in_ready;
  assign in_first = column == '0 && place == '0;
  assign pixels_here = in_first ? pixels : pixels_of[written];
  assign last_column = column == columns - 1'b1;
  assign last_pixel = place == pixels_here - 1'b1;

  assign full = is_full[reading];
  assign full_pixels = pixels_of[reading];

  always_ff @(posedge clk) begin
    if (rst) begin
      column <= '0;
      place <= '0;
      written <= 1'b0;
      reading <= 1'b0;
      is_full <= '0;
    end else begin
      if (write) begin
        if (BY_CHANNEL) begin
          place <= last_pixel ? '0 : place + 1'b1;
          if (last_pixel) column <= last_column ? '0 : column + 1'b1;
        end else begin
          column <= last_column ? '0 : column + 1'b1;
          if (last_column) place <= last_pixel ? '0 : place + 1'b1;
        end
        if (last_column && last_pixel) begin
          written <= !written;
          is_full[written] <= 1'b1;
        end
      end
      if (release_tile) begin
        reading <= !reading;
        is_full[reading] <= 1'b0;
      end
    end
    if (write) pixels_of[written] <= pixels_here;
  end

  logic [LANES*BITS-1:0] memory[Depth];
  logic [LANES*BITS-1:0] read;
  logic [$clog2(Depth)-1:0] write_address, read_address;
  logic [LaneBits-1:0] lane;
  if (GROUPS > 1) begin : g_groups
    assign write_address = {written, place[PixelBits-2:0], column[ColumnBits-2:LaneBits]};
    assign read_address = {reading, pixel, group};
  end else begin : g_one_group
    logic unused;
    assign unused = &{1'b0, group, column[ColumnBits-1]};
    assign write_address = {written, place[PixelBits-2:0]};
    assign read_address = {reading, pixel};
  end
  assign lane = column[LaneBits-1:0];

  always_ff @(posedge clk) begin
    for (int i = 0; i < LANES; ++i) begin
      if (write && lane == LaneBits'(i)) memory[write_address][i*BITS+:BITS] <= in_value;
    end
    read <= memory[read_address];
    values <= read;
  end
endmodule
