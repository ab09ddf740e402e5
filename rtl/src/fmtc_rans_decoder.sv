// Chunks of interleaved rANS to levels (docs/stream_format.md, "rANS chunks").
//
// The states are in a ring: value i is decoded with state i mod S, and takes nine stages from reading
// the state to writing it. With 16 states and more that is a value a cycle; with fewer, S values in
// nine cycles. Digits come from the front of the payload and escaped levels from its back, each by a
// channel of its own. No stage waits: a value is begun only when there are a digit, an escape and
// room at the output for it, whether it needs them or not, or when the payload has no more.
//
// Every chunk gives as many levels as it has values, whatever its bytes are; `done_bad` then tells
// that they mean nothing.
module fmtc_rans_decoder #(
    parameter int TABLES = 4,       // a power of two, 1 to 16
    parameter int COUNT_BITS = 17,  // of a chunk's values
    parameter int LOG2_TOTAL = 12,  // of the frequencies of any table, 8 to 12; 0: as log2_total says
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1,
    localparam int ByteBits = COUNT_BITS + 3
) (
    input logic clk,
    input logic rst,

    // Tables, written while nothing is decoded. kind 0: the symbol of slot `index`, 8 bits; 1: of
    // symbol `index` its frequency, 13 bits, above its start, 12 bits; 2: the level of symbol 0. Symbol
    // 255 is the escape.
    input logic                 table_write,
    input logic [          1:0] table_kind,
    input logic [TableBits-1:0] table_number,
    input logic [         11:0] table_index,
    input logic [         24:0] table_data,
    input logic [          3:0] log2_total,

    input  logic                  chunk_valid,
    output logic                  chunk_ready,
    input  logic [COUNT_BITS-1:0] chunk_values,
    input  logic [           2:0] chunk_log2_states,  // 0 to 6
    input  logic [  ByteBits-1:0] chunk_bytes,        // of the payload

    // The runs of values with one table that the chunk consists of.
    input  logic                  run_valid,
    output logic                  run_ready,
    input  logic [ TableBits-1:0] run_table,
    input  logic [COUNT_BITS-1:0] run_count,

    // The payload's words of 4 bytes from the first on, and from the last on backwards; `last` marks
    // the last and the first of them. Half of the payload's last word may be beyond its end, and may be
    // anything. Words that are not taken when the chunk is done are their source's to drop.
    input  logic        front_valid,
    output logic        front_ready,
    input  logic [31:0] front_data,
    input  logic        front_last,
    input  logic        back_valid,
    output logic        back_ready,
    input  logic [31:0] back_data,
    input  logic        back_last,

    output logic               out_valid,
    input  logic               out_ready,
    output logic signed [15:0] out_level,

    // One a chunk.
    output logic done_valid,
    input  logic done_ready,
    output logic done_bad
);
  localparam logic [31:0] Lowest = 32'h1_0000;  // of a state between two values
  localparam logic [7:0] Escape = 8'd255;
  localparam int Stages = 8;  // behind that which reads a state

  typedef enum logic [1:0] {StIdle, StStates, StValues, StDone} state_t;
  state_t state;
  logic [COUNT_BITS-1:0] left;  // values to begin
  logic [2:0] log2_states;
  logic [6:0] states_less_1;
  logic signed [ByteBits:0] halves;  // of the payload that no value took; below 0 if there were none
  logic bad, start, take_state;

  assign start = chunk_valid && chunk_ready;
  assign chunk_ready = state == StIdle;
  assign states_less_1 = 7'((8'd1 << log2_states) - 8'd1);

  // -- Both ends of the payload -------------------------------------------------------------------
  logic digit_here, escape_here, front_word, take_digit, take_escape, fire, retire;
  logic digit_at_hand, escape_at_hand;
  logic [15:0] digit, escape;
  logic [31:0] front_head;

  fmtc_rans_end #(.BACKWARDS(1'b0)) front (
      .clk, .rst, .start, .odd(chunk_bytes[1]), .close(done_valid),
      .in_valid(front_valid), .in_ready(front_ready), .in_data(front_data), .in_last(front_last),
      .word_valid(front_word), .word(front_head), .take_word(take_state),
      .half(digit), .take(take_digit), .reserve(fire), .release_one(retire && !take_digit),
      .at_hand(digit_at_hand)
  );
  logic unused_word, unused_here;
  logic [31:0] unused_head;
  fmtc_rans_end #(.BACKWARDS(1'b1)) back (
      .clk, .rst, .start, .odd(chunk_bytes[1]), .close(done_valid),
      .in_valid(back_valid), .in_ready(back_ready), .in_data(back_data), .in_last(back_last),
      .word_valid(unused_word), .word(unused_head), .take_word(1'b0),
      .half(escape), .take(take_escape), .reserve(fire), .release_one(retire && !take_escape),
      .at_hand(escape_at_hand)
  );
  assign digit_here = digit_at_hand || bad;
  assign escape_here = escape_at_hand || bad;

  // -- Runs ---------------------------------------------------------------------------------------
  logic run_here, none_left;
  logic [TableBits-1:0] table_here;
  logic [4:0] unused_run;
  logic [TableBits-1:0] unused_table;
  fmtc_runs #(.TABLE_BITS(TableBits), .COUNT_BITS(COUNT_BITS)) runs (
      .clk, .rst, .run_valid, .run_ready, .run_table, .run_count, .run_join(1'b0), .run_last(1'b0),
      .here(run_here), .none_left, .one_left(unused_run[0]), .table_here,
      .join_here(unused_run[1]), .last_here(unused_run[2]), .ends(unused_run[3]),
      .step(fire), .skip(1'b1), .hold(1'b0), .load(unused_run[4]), .next_table(unused_table)
  );

  // -- The ring -----------------------------------------------------------------------------------
  logic [31:0] states[64];
  logic [5:0] reader, writer;  // the states that are read and written next
  logic [6:0] free;            // states that are not in the ring's stages
  localparam int Room = 16;
  logic [$clog2(Room):0] room;
  logic taken;

  assign fire = state == StValues && left != '0 && run_here && !none_left && free != '0 &&
                room != '0 && digit_here && escape_here;
  assign taken = out_valid && out_ready;

  // Stage 1: the state is read.
  logic [Stages:1] valid, last_round;
  logic [31:0] x1;
  logic [TableBits-1:0] table1, table2, table3;
  // Stage 2 and 3: the symbol of its slot. 4 and 5: the entry of the symbol.
  logic [11:0] slot1, slot2, slot3, slot4, slot5;
  logic [23:0] high1, high2, high3, high4, high5;
  logic [7:0] symbol2, symbol3;
  logic [24:0] entry4, entry5;
  // 6: the product. 7: the new state, but for a digit. 8: whether it takes one.
  logic [36:0] product6;
  logic signed [12:0] rest6;
  logic [31:0] x7, x8;
  logic low8;
  logic signed [15:0] base4, level5, level6, level7, level8;
  logic [7:0] symbol4;
  logic [8:4] escaped;

  always_comb begin
    slot1 = x1[11:0];
    high1 = x1[31:8];
    unique case (LOG2_TOTAL == 0 ? log2_total : 4'(LOG2_TOTAL))
      4'd8: slot1[11:8] = '0;
      4'd9: begin slot1[11:9] = '0; high1 = {1'b0, x1[31:9]}; end
      4'd10: begin slot1[11:10] = '0; high1 = {2'b0, x1[31:10]}; end
      4'd11: begin slot1[11] = '0; high1 = {3'b0, x1[31:11]}; end
      default: high1 = {4'b0, x1[31:12]};
    endcase
  end

  logic [7:0] symbols[TABLES*4096];
  logic [24:0] entries[TABLES*256];
  logic signed [15:0] bases[TABLES];
  localparam int SlotBits = $clog2(TABLES) + 12, EntryBits = $clog2(TABLES) + 8;
  always_ff @(posedge clk) begin
    if (table_write && table_kind == 2'd0)
      symbols[SlotBits'({table_number, table_index})] <= table_data[7:0];
    if (table_write && table_kind == 2'd1)
      entries[EntryBits'({table_number, table_index[7:0]})] <= table_data;
    if (table_write && table_kind == 2'd2) bases[table_number] <= table_data[15:0];
  end

  always_ff @(posedge clk) begin
    x1 <= states[reader];
    {table1, table2, table3} <= {table_here, table1, table2};
    symbol2 <= symbols[SlotBits'({table1, slot1})];
    symbol3 <= symbol2;
    entry4 <= entries[EntryBits'({table3, symbol3})];
    entry5 <= entry4;
    {slot2, slot3, slot4, slot5} <= {slot1, slot2, slot3, slot4};
    {high2, high3, high4, high5} <= {high1, high2, high3, high4};
    product6 <= {24'd0, entry5[24:12]} * {13'd0, high5};
    rest6 <= $signed({1'b0, slot5}) - $signed({1'b0, entry5[11:0]});
    x7 <= product6[31:0] + 32'(rest6);
    x8 <= x7;
    low8 <= x7 < Lowest;
    // The level
    symbol4 <= symbol3;
    base4 <= bases[table3];
    escaped <= {escaped[7:4], symbol3 == Escape};
    level5 <= base4 + $signed({8'd0, symbol4});
    {level6, level7, level8} <= {level5, level6, level7};
  end

  logic [31:0] x_next;
  assign take_digit = valid[8] && low8;
  assign take_escape = valid[8] && escaped[8];
  assign retire = valid[8];
  assign x_next = low8 ? {x8[15:0], digit} : x8;

  always_ff @(posedge clk) begin
    if (take_state || valid[8]) states[writer] <= take_state ? front_head : x_next;
  end

  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= {valid[7:1], fire};
    last_round <= {last_round[7:1], left <= {{COUNT_BITS - 7{1'b0}}, states_less_1} + 1'b1};
  end

  always_ff @(posedge clk) begin
    if (rst) room <= ($clog2(Room) + 1)'(Room);
    else if (fire && !taken) room <= room - 1'b1;
    else if (!fire && taken) room <= room + 1'b1;
  end

  // -- A chunk ------------------------------------------------------------------------------------
  logic [6:0] states_left;  // to read
  assign take_state = state == StStates && front_word && states_left != '0;
  assign done_valid = state == StDone;
  assign done_bad = bad;

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StIdle;
    end else begin
      unique case (state)
        StIdle: if (chunk_valid) state <= StStates;
        StStates: if (states_left == '0 || bad) state <= StValues;
        StValues: if (left == '0 && valid == '0) state <= StDone;
        default: if (done_ready) state <= StIdle;
      endcase
    end
  end

  always_ff @(posedge clk) begin
    if (start) begin
      left <= chunk_values;
      log2_states <= chunk_log2_states;
      states_left <= 7'd1 << chunk_log2_states;
      halves <= $signed({2'b0, chunk_bytes[ByteBits-1:1]}) -
                $signed((ByteBits + 1)'(12'd2 << chunk_log2_states));
      bad <= chunk_bytes[0];
      reader <= '0;
      writer <= '0;
      free <= 7'd1 << chunk_log2_states;
    end else begin
      if (take_state) states_left <= states_left - 1'b1;
      if (fire) left <= left - 1'b1;
      if (fire) reader <= (reader + 1'b1) & states_less_1[5:0];
      if (take_state || retire) writer <= (writer + 1'b1) & states_less_1[5:0];
      if (fire && !retire) free <= free - 1'b1;
      else if (!fire && retire) free <= free + 1'b1;
      if (take_digit && take_escape) halves <= halves - 2;
      else if (take_digit || take_escape) halves <= halves - 1;

      // States that an encoder does not write, or that it did not begin with.
      if (take_state && front_head < Lowest) bad <= 1'b1;
      if (take_state && {{COUNT_BITS - 5{1'b0}}, writer} >= {1'b0, left} && front_head != Lowest)
        bad <= 1'b1;
      if (retire && last_round[8] && x_next != Lowest) bad <= 1'b1;
      // Fewer bytes than were needed, or more.
      if (halves < 0) bad <= 1'b1;
      if (state == StValues && left == '0 && valid == '0 && halves != 0) bad <= 1'b1;
    end
  end

  logic always_ready;
  fmtc_fifo #(.WIDTH(16), .DEPTH(Room)) results (
      .clk, .rst, .in_valid(valid[8]), .in_ready(always_ready),
      .in_data(escaped[8] ? escape : level8),
      .out_valid, .out_ready, .out_data(out_level)
  );

  assign unused_here = 1'b0;
  logic unused;
  assign unused = &{1'b0, always_ready, unused_here, unused_word, unused_head, unused_run,
                    unused_table, product6[36:32], log2_total};
endmodule
