// Huffman sub-streams to levels, a value a cycle (docs/stream_format.md, "Huffman chunks").
//
// A table is what canonical codes need. With the next l bits as a number, the first bit read the
// highest,
//   limit[l]   the first number that does not begin with a code of l bits or fewer; the numbers below
//              all do
//   offset[l]  where the level of the code c of l bits stands: levels[offset[l] + c]
//   levels     by ascending code; tables may lie anywhere in this memory
// The limits of the present table are in registers, and those of the next run's are read ahead, so
// that a change of table takes no time.
//
// Every sub-stream gives as many levels as its runs say, whatever its bytes are; `done_bad` then
// tells that they mean nothing. In front of the output no stage waits: a value is begun only when
// there is room for it at the end.
module fmtc_huffman_decoder #(
    parameter int TABLES = 4,         // a power of two, 1 to 16
    parameter int LEVELS = 1024,      // of all tables together, a power of two
    parameter int COUNT_BITS = 17,    // of a run's values
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1,
    localparam int LevelBits = $clog2(LEVELS)
) (
    input logic clk,
    input logic rst,

    // Tables, written while nothing is decoded. kind 0: limit[index] of a table, 1: its
    // offset[index], index 1 to 15; 2: levels[index], of all tables.
    input logic                    table_write,
    input logic [             1:0] table_kind,
    input logic [   TableBits-1:0] table_number,
    input logic [LevelBits+3:0] table_index,
    input logic [            15:0] table_data,

    // The runs of values with one table that a sub-stream consists of. Count 0 is for an empty
    // sub-stream.
    input  logic                  run_valid,
    output logic                  run_ready,
    input  logic [ TableBits-1:0] run_table,
    input  logic [COUNT_BITS-1:0] run_count,
    input  logic                  run_last,   // of the sub-stream

    // Its words (fmtc_unpacker).
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [31:0] in_data,
    input  logic [ 1:0] in_begin,
    input  logic [ 2:0] in_end,
    input  logic        in_last,

    output logic               out_valid,
    input  logic               out_ready,
    output logic signed [15:0] out_level,

    // One a sub-stream.
    output logic done_valid,
    input  logic done_ready,
    output logic done_bad
);
  localparam int Longest = 15;

  // -- Bits ---------------------------------------------------------------------------------------
  logic [15:0] bits;
  logic signed [6:0] count;
  logic ended, rest_is_zero, discard, next;
  logic [4:0] take;

  fmtc_unpacker unpacker (
      .clk, .rst, .in_valid, .in_ready, .in_data, .in_begin, .in_end, .in_last,
      .bits, .count, .ended, .rest_is_zero, .take, .discard, .next
  );

  // -- Runs ---------------------------------------------------------------------------------------
  typedef enum logic [1:0] {StRun, StCheck, StDone} state_t;
  state_t state;
  logic run_here, last_here, none_left, run_ends, load;
  logic [TableBits-1:0] table_here, next_table;
  logic fire, bad;

  logic unused_join, unused_one_left;
  fmtc_runs #(.TABLE_BITS(TableBits), .COUNT_BITS(COUNT_BITS)) runs (
      .clk, .rst, .run_valid, .run_ready, .run_table, .run_count, .run_join(1'b0), .run_last,
      .here(run_here), .none_left, .one_left(unused_one_left), .table_here,
      .join_here(unused_join), .last_here, .ends(run_ends),
      // The run behind a sub-stream's last one waits for the check.
      .step(fire), .skip(state == StRun), .hold(state != StRun || (run_here && last_here)),
      .load, .next_table
  );

  // -- The length of the next code ----------------------------------------------------------------
  logic [Longest-1:0] code;  // the first bit read is the highest
  for (genvar i = 0; i < Longest; ++i) begin : g_code
    assign code[Longest-1-i] = bits[i];
  end

  // longer[l]: the code has more than l bits. As this is true for all l below some number, four
  // looks find that number.
  logic [Longest:1] longer;
  for (genvar l = 1; l <= Longest; ++l) begin : g_longer
    logic [l:0] limits[TABLES];
    logic [l:0] limit;  // of the present table
    always_ff @(posedge clk) begin
      if (table_write && table_kind == 2'd0 && table_index[3:0] == 4'(l))
        limits[table_number] <= table_data[l:0];
      if (load) limit <= limits[next_table];
    end
    assign longer[l] = {1'b0, code[Longest-1-:l]} >= limit;
  end
  logic [3:0] length_less_1;
  assign length_less_1[3] = longer[8];
  assign length_less_1[2] = longer[8] ? longer[12] : longer[4];
  assign length_less_1[1] =
      longer[8] ? (longer[12] ? longer[14] : longer[10]) : (longer[4] ? longer[6] : longer[2]);
  always_comb begin
    unique case (length_less_1[3:1])
      3'd0: length_less_1[0] = longer[1];
      3'd1: length_less_1[0] = longer[3];
      3'd2: length_less_1[0] = longer[5];
      3'd3: length_less_1[0] = longer[7];
      3'd4: length_less_1[0] = longer[9];
      3'd5: length_less_1[0] = longer[11];
      3'd6: length_less_1[0] = longer[13];
      default: length_less_1[0] = longer[15];
    endcase
  end

  // Values that are begun and not yet taken from the output.
  localparam int Room = 8;
  logic [$clog2(Room):0] room;
  logic taken;
  assign fire = state == StRun && run_here && !none_left && room != '0 &&
                (count >= 7'sd15 || ended || bad);
  assign take = fire ? {1'b0, length_less_1} + 5'd1 : 5'd0;
  assign taken = out_valid && out_ready;

  always_ff @(posedge clk) begin
    if (rst) room <= ($clog2(Room) + 1)'(Room);
    else if (fire && !taken) room <= room - 1'b1;
    else if (!fire && taken) room <= room + 1'b1;
  end

  // -- The end of a sub-stream --------------------------------------------------------------------
  // More bits than the byte of the last code has, or bits of that byte that are not 0, or fewer bits
  // than codes.
  assign discard = bad || (state == StCheck && count >= 7'sd8);
  assign next = state == StDone && done_ready;
  assign done_valid = state == StDone;
  assign done_bad = bad;

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StRun;
      bad <= 1'b0;
    end else begin
      unique case (state)
        StRun: begin
          if (run_ends && last_here) state <= StCheck;
          if (fire && longer[Longest]) bad <= 1'b1;
        end
        StCheck: begin
          if (discard) bad <= 1'b1;
          if (ended) begin
            state <= StDone;
            if (!rest_is_zero) bad <= 1'b1;
          end
        end
        default: begin
          if (done_ready) begin
            state <= StRun;
            bad <= 1'b0;
          end
        end
      endcase
      if (count < 0 && state != StDone) bad <= 1'b1;
    end
  end

  // -- The level of a code ------------------------------------------------------------------------
  logic [LevelBits-1:0] offsets[TABLES*16];
  logic signed [15:0] levels[LEVELS];
  logic code_valid, place_valid, read_valid, level_valid;
  logic [Longest-1:0] code_bits;
  logic [3:0] code_length_less_1;
  logic [TableBits-1:0] code_table;
  logic [LevelBits-1:0] place;
  logic signed [15:0] level_read, level;

  always_ff @(posedge clk) begin
    if (table_write && table_kind == 2'd1)
      offsets[($clog2(TABLES)+4)'({table_number, table_index[3:0]})] <= LevelBits'(table_data);
    if (table_write && table_kind == 2'd2) levels[table_index[LevelBits-1:0]] <= table_data;
  end

  always_ff @(posedge clk) begin
    code_bits <= code;
    code_length_less_1 <= length_less_1;
    code_table <= table_here;
    place <= offsets[($clog2(TABLES)+4)'({code_table, code_length_less_1 + 4'd1})] +
             LevelBits'(code_bits >> (4'd14 - code_length_less_1));
    level_read <= levels[place];
    level <= level_read;
  end

  always_ff @(posedge clk) begin
    if (rst) begin
      {code_valid, place_valid, read_valid, level_valid} <= '0;
    end else begin
      code_valid <= fire;
      place_valid <= code_valid;
      read_valid <= place_valid;
      level_valid <= read_valid;
    end
  end

  logic always_ready;
  fmtc_fifo #(.WIDTH(16), .DEPTH(Room)) results (
      .clk, .rst, .in_valid(level_valid), .in_ready(always_ready), .in_data(level),
      .out_valid, .out_ready, .out_data(out_level)
  );

  logic unused;
  assign unused = &{1'b0, always_ready, table_index, bits[15], unused_join, unused_one_left};
endmodule
