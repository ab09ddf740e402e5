// The level of a sum: clamp(round_half_even(y / step), lo, hi) as the core's float arithmetic has it,
// for integers y. No division: the reciprocal of the step tells the level or the one below, and a
// threshold which of them. Seven cycles, a value a cycle, no stalls.
//
// thresholds[v] is the smallest y whose level is lo + v or above, v from 1 to the number of levels
// less 1; they are made offline, with the same float arithmetic. The guess at y is
//   v = 1 + ((y - thresholds[1]) * reciprocal >> shift)
// and must be right, or one too small, for every y between the first and the last threshold.
module fmtc_quantizer #(
    parameter int SUM_BITS = 25,
    parameter int LEVEL_BITS = 8
) (
    input logic clk,

    // Written while nothing is quantised.
    input logic                         table_write,
    input logic        [LEVEL_BITS-1:0] table_index,
    input logic signed [  SUM_BITS-1:0] table_threshold,
    input logic signed [  SUM_BITS-1:0] first_threshold,  // thresholds[1]
    input logic signed [  SUM_BITS-1:0] last_threshold,
    input logic        [LEVEL_BITS-1:0] last_index,       // at least 1
    input logic        [          16:0] reciprocal,
    input logic        [           5:0] shift,
    input logic signed [          15:0] lo,

    input  logic signed [SUM_BITS-1:0] sum,
    output logic signed [        15:0] level
);
  localparam int ProductBits = SUM_BITS + 1 + 17;

  logic signed [SUM_BITS-1:0] thresholds[2**LEVEL_BITS];
  always_ff @(posedge clk) begin
    if (table_write) thresholds[table_index] <= table_threshold;
  end

  logic signed [SUM_BITS-1:0] y1, y2, y3, y4, y5;
  logic [SUM_BITS:0] above1;  // y - thresholds[1], where it is not below 0
  logic [5:1] below, beyond;
  logic [ProductBits-1:0] product2, shifted;
  logic [LEVEL_BITS-1:0] guess3, guess4, guess5, index6;
  logic [LEVEL_BITS-1:0] place3;
  logic signed [SUM_BITS-1:0] threshold4, threshold5;

  assign shifted = product2 >> shift;
  always_ff @(posedge clk) begin
    y1 <= sum;
    above1 <= (SUM_BITS + 1)'(sum) - (SUM_BITS + 1)'(first_threshold);
    below[1] <= sum < first_threshold;
    beyond[1] <= sum >= last_threshold;
    {below[5:2], beyond[5:2]} <= {below[4:1], beyond[4:1]};

    product2 <= ProductBits'(above1) * ProductBits'(reciprocal);
    guess3 <= LEVEL_BITS'(shifted) + 1'b1;
    place3 <= LEVEL_BITS'(shifted) + LEVEL_BITS'(2);
    {y2, y3, y4, y5} <= {y1, y2, y3, y4};

    threshold4 <= thresholds[place3];
    threshold5 <= threshold4;
    {guess4, guess5} <= {guess3, guess4};

    if (below[5]) index6 <= '0;
    else if (beyond[5]) index6 <= last_index;
    else index6 <= guess5 + LEVEL_BITS'(y5 >= threshold5);
    level <= lo + $signed(16'(index6));
  end

  logic unused;
  assign unused = &{1'b0, shifted[ProductBits-1:LEVEL_BITS]};
endmodule
