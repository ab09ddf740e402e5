// A first-in-first-out buffer in block memory, which is read a cycle and a register ahead.
module fmtc_block_fifo #(
    parameter int WIDTH = 16,
    parameter int DEPTH = 1024  // a power of two
) (
    input logic clk,
    input logic rst,

    input  logic             in_valid,
    output logic             in_ready,
    input  logic [WIDTH-1:0] in_data,

    output logic             out_valid,
    input  logic             out_ready,
    output logic [WIDTH-1:0] out_data
);
  localparam int AddressBits = $clog2(DEPTH);

  logic [WIDTH-1:0] memory[DEPTH];
  logic [WIDTH-1:0] read, read_again;
  logic [AddressBits:0] head, tail, used;
  logic [2:1] valid;
  logic fetch, write, taken, always_ready;
  logic [2:0] room;  // for what was read from the memory, until it is taken

  assign used = tail - head;
  assign in_ready = !used[AddressBits];
  assign write = in_valid && in_ready;
  assign fetch = used != '0 && room != '0;
  assign taken = out_valid && out_ready;

  always_ff @(posedge clk) begin
    if (write) memory[tail[AddressBits-1:0]] <= in_data;
    read <= memory[head[AddressBits-1:0]];
    read_again <= read;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      head <= '0;
      tail <= '0;
      valid <= '0;
      room <= 3'd4;
    end else begin
      if (write) tail <= tail + 1'b1;
      if (fetch) head <= head + 1'b1;
      valid <= {valid[1], fetch};
      if (fetch && !taken) room <= room - 1'b1;
      else if (!fetch && taken) room <= room + 1'b1;
    end
  end

  fmtc_fifo #(.WIDTH(WIDTH), .DEPTH(4)) ahead (
      .clk, .rst, .in_valid(valid[2]), .in_ready(always_ready), .in_data(read_again),
      .out_valid, .out_ready, .out_data
  );

  logic unused;
  assign unused = &{1'b0, always_ready};
endmodule
