// Handshakes of the buffers that all modules are put together from, for yosys' prover
// (rtl/formal/prove.py): nothing is lost, doubled or changes places, and what is offered stays.
module fifo_handshake (
    input logic clk,
    input logic rst,
    input logic watch,  // follow the item that goes in
    input logic in_valid,
    input logic [1:0] in_data,
    input logic out_ready
);
  logic in_ready, out_valid;
  logic [1:0] out_data;
  fmtc_fifo #(.WIDTH(2), .DEPTH(4)) fifo (
      .clk, .rst, .in_valid, .in_ready, .in_data, .out_valid, .out_ready, .out_data
  );

  // How many items are in front of the followed one, itself included, and what it is.
  logic [2:0] inside_count, ahead, wanted;
  logic following, was_offered;
  logic [1:0] item, offered;
  logic goes_in, goes_out;
  assign goes_in = in_valid && in_ready;
  assign goes_out = out_valid && out_ready;
  assign wanted = inside_count - 3'(goes_out) + 3'd1;

  always_ff @(posedge clk) begin
    if (rst) begin
      inside_count <= '0;
      following <= 1'b0;
      was_offered <= 1'b0;
      ahead <= '0;
    end else begin
      inside_count <= inside_count + 3'(goes_in) - 3'(goes_out);
      was_offered <= out_valid && !out_ready;
      offered <= out_data;
      if (following) begin
        if (goes_out) ahead <= ahead - 1'b1;
        if (goes_out && ahead == 3'd1) following <= 1'b0;
      end else if (goes_in && watch) begin
        following <= 1'b1;
        item <= in_data;
        ahead <= wanted;
      end
    end
  end

  always_comb begin
    if (!rst) begin
      assert (inside_count <= 3'd4);
      assert (out_valid == (inside_count != '0));
      assert (in_ready == (inside_count != 3'd4));
      if (following) assert (ahead != '0 && ahead <= inside_count);
      if (following && ahead == 3'd1) assert (out_data == item);
      // What makes the above true, so that one step proves it for all.
      assert (3'(fifo.tail - fifo.head) == inside_count);
      if (following) assert (fifo.memory[2'(fifo.head + ahead - 3'd1)] == item);
      if (was_offered) assert (out_valid && out_data == offered);
    end
  end
endmodule

// The same of a buffer whose places are reserved, if that is done only where there is room, and nothing
// else comes.
module reserved_fifo_handshake (
    input logic clk,
    input logic rst,
    input logic watch,  // follow the item that goes in
    input logic reserve,
    input logic put,
    input logic [1:0] in_data,
    input logic out_ready
);
  logic room, out_valid;
  logic [1:0] out_data;
  fmtc_reserved_fifo #(.WIDTH(2), .DEPTH(4)) fifo (
      .clk, .rst, .room, .reserve, .put, .in_data, .out_valid, .out_ready, .out_data
  );

  // How many items are to come and how many are inside. How many of these are in front of the followed
  // one, itself included, and what it is.
  logic [2:0] to_come, inside_count, ahead, wanted;
  logic following, was_offered;
  logic [1:0] item, offered;
  logic goes_out;
  logic [3:0] all;
  assign all = {1'b0, to_come} + {1'b0, inside_count};
  assign goes_out = out_valid && out_ready;
  assign wanted = inside_count - 3'(goes_out) + 3'd1;

  always_ff @(posedge clk) begin
    if (rst) begin
      to_come <= '0;
      inside_count <= '0;
      following <= 1'b0;
      was_offered <= 1'b0;
      ahead <= '0;
    end else begin
      to_come <= to_come + 3'(reserve) - 3'(put);
      inside_count <= inside_count + 3'(put) - 3'(goes_out);
      was_offered <= out_valid && !out_ready;
      offered <= out_data;
      if (following) begin
        if (goes_out) ahead <= ahead - 1'b1;
        if (goes_out && ahead == 3'd1) following <= 1'b0;
      end else if (put && watch) begin
        following <= 1'b1;
        item <= in_data;
        ahead <= wanted;
      end
    end
  end

  always_comb begin
    if (!rst) begin
      assume (!reserve || room);
      assume (!put || to_come != '0);
      assert (all <= 4'd4);
      assert (room == (all != 4'd4));
      assert (out_valid == (inside_count != '0));
      if (following) assert (ahead != '0 && ahead <= inside_count);
      if (following && ahead == 3'd1) assert (out_data == item);
      // What makes the above true, so that one step proves it for all.
      assert (to_come <= 3'd4 && inside_count <= 3'd4);
      assert (3'(fifo.reserved - fifo.tail) == to_come);
      assert (3'(fifo.tail - fifo.head) == inside_count);
      if (following) assert (fifo.memory[2'(fifo.head + ahead - 3'd1)] == item);
      if (was_offered) assert (out_valid && out_data == offered);
    end
  end
endmodule

// A word of the packer stays until it is taken, has bytes in order, and lies at the beginning of the
// memory word in all words of a string but the first.
module packer_handshake (
    input logic clk,
    input logic rst,
    input logic in_valid,
    input logic [7:0] in_bits,
    input logic [3:0] in_length,
    input logic in_join,
    input logic in_last,
    input logic out_ready
);
  logic in_ready, out_valid, out_last;
  logic [31:0] out_data;
  logic [1:0] out_begin;
  logic [2:0] out_end;
  fmtc_packer #(.BITS(8)) packer (
      .clk, .rst, .in_valid, .in_ready, .in_bits, .in_length, .in_join, .in_last,
      .out_valid, .out_ready, .out_data, .out_begin, .out_end, .out_last
  );

  logic was_offered, inside_string;
  logic [37:0] offered;
  always_ff @(posedge clk) begin
    if (rst) begin
      was_offered <= 1'b0;
      inside_string <= 1'b0;
    end else begin
      was_offered <= out_valid && !out_ready;
      offered <= {out_data, out_begin, out_end, out_last};
      if (out_valid && out_ready) inside_string <= !out_last;
    end
  end

  always_comb begin
    if (!rst) begin
      assume (in_length <= 4'd8);
      if (was_offered) assert (out_valid && {out_data, out_begin, out_end, out_last} == offered);
      if (out_valid) assert (out_end >= {1'b0, out_begin} && out_end <= 3'd4);
      if (out_valid && !out_last) assert (out_end == 3'd4);
      // Where the present word begins: also what makes the above true.
      if (out_valid && inside_string) assert (out_begin == 2'd0);
      if (packer.under_way && !packer.tail) assert ({packer.first, 3'd0} <= packer.fill);
      if (packer.tail) assert (packer.under_way && out_valid && !out_last);
      if (out_valid && !out_last && !packer.tail) assert (packer.under_way && packer.first == 2'd0);
      if (out_valid && out_last) assert (!packer.under_way);
      if (!out_valid && inside_string) assert (packer.under_way && packer.first == 2'd0);
    end
  end
endmodule
