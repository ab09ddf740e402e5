// The sum of N numbers, registered after each four-to-one stage: ceil(log4(N)) cycles.
module fmtc_sum #(
    parameter int N = 64,
    parameter int BITS = 17,  // of a number
    localparam int SumBits = BITS + $clog2(N)
) (
    input  logic                               clk,
    input  logic signed [N-1:0][     BITS-1:0] values,
    output logic signed                        [SumBits-1:0] sum
);
  localparam int Quarter = (N + 3) / 4;

  if (N == 1) begin : g_one
    logic unused;
    assign unused = clk;
    assign sum = values[0];
  end else begin : g_four
    // Of up to four numbers each; the last may have fewer.
    logic signed [Quarter-1:0][BITS+1:0] sums;
    for (genvar i = 0; i < Quarter; ++i) begin : g_sum
      logic signed [3:0][BITS+1:0] terms;
      for (genvar j = 0; j < 4; ++j) begin : g_term
        if (4 * i + j < N) begin : g_value
          assign terms[j] = {{2{values[4*i+j][BITS-1]}}, values[4*i+j]};
        end else begin : g_none
          assign terms[j] = '0;
        end
      end
      always_ff @(posedge clk) sums[i] <= (terms[0] + terms[1]) + (terms[2] + terms[3]);
    end
    logic signed [BITS+2+$clog2(Quarter)-1:0] rest;
    fmtc_sum #(.N(Quarter), .BITS(BITS + 2)) next (.clk, .values(sums), .sum(rest));
    assign sum = SumBits'(rest);
    if (BITS + 2 + $clog2(Quarter) > SumBits) begin : g_unused
      logic unused;
      assign unused = &{1'b0, rest[BITS+2+$clog2(Quarter)-1:SumBits]};
    end
  end
endmodule
