// A small first-in-first-out buffer. `in_ready` does not depend on `out_ready`, so that a chain of
// them has no long path.
module fmtc_fifo #(
    parameter int WIDTH = 32,
    parameter int DEPTH = 4    // a power of two
) (
    input  logic clk,
    input  logic rst,

    input  logic             in_valid,
    output logic             in_ready,
    input  logic [WIDTH-1:0] in_data,

    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
  localparam int AddressBits = $clog2(DEPTH);

  logic [WIDTH-1:0] memory[DEPTH];
  // One bit more than an address tells a full buffer from an empty one.
  logic [AddressBits:0] head, tail, used;

  assign used = tail - head;
  assign in_ready = !used[AddressBits];
  assign out_valid = head != tail;
  assign out_data = memory[head[AddressBits-1:0]];

  always_ff @(posedge clk) begin
    if (in_valid && in_ready) memory[tail[AddressBits-1:0]] <= in_data;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      head <= '0;
      tail <= '0;
    end else begin
      if (in_valid && in_ready) tail <= tail + 1'b1;
      if (out_valid && out_ready) head <= head + 1'b1;
    end
  end
endmodule
