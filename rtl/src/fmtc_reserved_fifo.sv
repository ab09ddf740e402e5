// A first-in-first-out buffer behind stages that do not wait: what goes into them reserves a place
// here, and finds it when it comes out.
module fmtc_reserved_fifo #(
    parameter int WIDTH = 16,
    parameter int DEPTH = 16   // a power of two
) (
    input  logic clk,
    input  logic rst,

    output logic             room,     // for one more
    input  logic             reserve,  // only if there is
    input  logic             put,      // only what was reserved
    input  logic [WIDTH-1:0] in_data,

    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
  localparam int AddressBits = $clog2(DEPTH);

  logic [WIDTH-1:0] memory[DEPTH];
  // One bit more than an address tells a full buffer from an empty one.
  logic [AddressBits:0] reserved, tail, head;

  assign room = reserved != (head ^ (AddressBits + 1)'(DEPTH));
  assign out_valid = head != tail;
  assign out_data = memory[head[AddressBits-1:0]];

  always_ff @(posedge clk) begin
    if (put) memory[tail[AddressBits-1:0]] <= in_data;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      reserved <= '0;
      tail <= '0;
      head <= '0;
    end else begin
      if (reserve) reserved <= reserved + 1'b1;
      if (put) tail <= tail + 1'b1;
      if (out_valid && out_ready) head <= head + 1'b1;
    end
  end
endmodule
