// Walks along values as runs that share a table. The next run is read ahead, so that a change of
// table takes no time.
module fmtc_runs #(
    parameter int TABLE_BITS = 2,
    parameter int COUNT_BITS = 17
) (
    input logic clk,
    input logic rst,

    input  logic                  run_valid,
    output logic                  run_ready,
    input  logic [TABLE_BITS-1:0] run_table,
    input  logic [COUNT_BITS-1:0] run_count,  // its values; 0 for a run of none
    input  logic                  run_join,   // carried along
    input  logic                  run_last,   // of a string of runs

    output logic                  here,       // there is a present run
    output logic                  none_left,  // of it, as it is one of no values
    output logic                  one_left,
    output logic [TABLE_BITS-1:0] table_here,
    output logic                  join_here,
    output logic                  last_here,
    output logic                  ends,       // the present run is over with this cycle

    input logic step,  // a value of the present run is taken
    input logic skip,  // a run of no values may be left
    input logic hold,  // behind a last run, none becomes the present one

    // The next run becomes the present one with this cycle, or none does.
    output logic                  load,
    output logic [TABLE_BITS-1:0] next_table
);
  logic next_valid, next_join, next_last;
  logic [COUNT_BITS-1:0] next_count, left;

  fmtc_fifo #(.WIDTH(TABLE_BITS + COUNT_BITS + 2), .DEPTH(4)) queue (
      .clk, .rst,
      .in_valid(run_valid), .in_ready(run_ready),
      .in_data({run_join, run_last, run_table, run_count}),
      .out_valid(next_valid), .out_ready(load),
      .out_data({next_join, next_last, next_table, next_count})
  );

  assign ends = here && ((none_left && skip) || (step && one_left));
  assign load = !hold && (!here || ends);

  always_ff @(posedge clk) begin
    if (rst) here <= 1'b0;
    else if (load) here <= next_valid;
    else if (ends) here <= 1'b0;
  end

  always_ff @(posedge clk) begin
    if (load) begin
      last_here <= next_last;
      join_here <= next_join;
      table_here <= next_table;
      left <= next_count;
      one_left <= next_count == COUNT_BITS'(1);
      none_left <= next_count == '0;
    end else if (step) begin
      left <= left - 1'b1;
      one_left <= left == COUNT_BITS'(2);
    end
  end
endmodule
