// Chunks of interleaved rANS to levels (docs/stream_format.md, "rANS chunks").
//
// The states are in a ring: value i is decoded with state i mod S, and takes nine stages from reading
// the state to writing it. With 16 states and more that is a value a cycle; with fewer, S values in
// nine cycles. Digits come from the front of the payload and escaped levels from its back, each by a
// channel of its own. No stage waits: a value is begun only when there are a digit, an escape and
// room at the output for it and for all before it, whether they need them or not, or when the payload
// has no more.
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
  logic [2:0] log2_states;
  logic start, bad;
  logic fire;  // a value is begun
  logic retire, take_state, take_digit, take_escape;

  assign start = chunk_valid && chunk_ready;
  assign chunk_ready = state == StIdle;

  // -- Both ends of the payload -------------------------------------------------------------------
  logic digits_here, escapes_here, digit_upper, escape_upper;
  logic [31:0] digit_word, escape_word;
  logic [15:0] digit, escape;

  fmtc_rans_end #(.BACKWARDS(1'b0), .RING(Stages)) front (
      .clk, .rst, .start, .odd(chunk_bytes[1]), .close(done_valid),
      .in_valid(front_valid), .in_ready(front_ready), .in_data(front_data), .in_last(front_last),
      .at_hand(digits_here), .word(digit_word), .upper(digit_upper),
      .take_half(take_digit), .take_word(take_state)
  );
  fmtc_rans_end #(.BACKWARDS(1'b1), .RING(Stages)) back (
      .clk, .rst, .start, .odd(chunk_bytes[1]), .close(done_valid),
      .in_valid(back_valid), .in_ready(back_ready), .in_data(back_data), .in_last(back_last),
      .at_hand(escapes_here), .word(escape_word), .upper(escape_upper),
      .take_half(take_escape), .take_word(1'b0)
  );
  assign digit = digit_upper ? digit_word[31:16] : digit_word[15:0];
  assign escape = escape_upper ? escape_word[31:16] : escape_word[15:0];

  // Halves that were taken, less those of the payload: 0 in the end, if both ends have met. From 0 on
  // there are none to wait for, and of an empty payload there never is a word.
  logic signed [ByteBits-1:0] excess;
  logic spent;
  assign spent = excess >= 0;

  always_ff @(posedge clk) begin
    excess <= (start ? ~{1'b0, chunk_bytes[ByteBits-1:1]} : excess) +
              ByteBits'({take_state || (take_digit && take_escape),
                         start || (take_digit != take_escape)});
  end

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

  // -- The states ---------------------------------------------------------------------------------
  // They are a queue: value i takes the i-th that entered. The first S come from the payload, and the
  // (S + i)-th is what value i leaves. So with n values the n-th and all behind it are final.
  logic [31:0] states[64];
  logic [6:0] reader, writer;
  logic same_slot, waiting, enter;
  logic [31:0] entering;
  logic all_here;  // of those from the payload

  assign same_slot = reader[5:0] == writer[5:0];
  assign waiting = !same_slot || reader[6] != writer[6];
  assign all_here = writer[log2_states];
  assign take_state = state == StStates && !all_here && (digits_here || spent);
  assign enter = take_state || retire;

  always_ff @(posedge clk) begin
    if (enter) states[writer[5:0]] <= entering;
  end

  // What has a place in the queue, entered or in the ring, less n: that of the next state.
  logic signed [COUNT_BITS:0] place;
  logic [6:0] final_places;  // before it, if it is final
  logic is_final, all_begun;

  assign is_final = place >= 0;
  assign final_places = place[6:0];
  assign all_begun = is_final && final_places[log2_states];

  always_ff @(posedge clk) begin
    if (start) begin
      log2_states <= chunk_log2_states;
      reader <= '0;
      writer <= '0;
    end else begin
      if (fire) reader <= reader + 1'b1;
      if (enter) writer <= writer + 1'b1;
    end
    if (start || take_state || fire) place <= (start ? ~{1'b0, chunk_values} : place) + 1'b1;
  end

  // -- The ring -----------------------------------------------------------------------------------
  logic room;
  assign fire = state == StValues && !all_begun && run_here && !none_left && waiting && room &&
                ((digits_here && escapes_here) || spent);

  // Stage 1: the state is read.
  logic [Stages:1] valid, final_of;
  logic [31:0] x1;
  logic [TableBits-1:0] table1, table2, table3, table4, table5, table6, table7;
  // Stage 2 and 3: the symbol of its slot. 4 and 5: the entry of the symbol.
  logic [11:0] slot1, slot2, slot3, slot4, slot5;
  logic [23:0] high1, high2, high3, high4, high5;
  logic [7:0] symbol2, symbol3, symbol4, symbol5, symbol6, symbol7, symbol8;
  logic [24:0] entry4, entry5;
  // 6: the product. 7: the new state, but for a digit. 8: whether it takes one.
  logic [36:0] product6;
  logic signed [12:0] rest6;
  logic [31:0] x7, x8;
  logic low8;
  logic signed [15:0] base8, level8;
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
    // None of the memories is read where it is written in the same cycle, which some cannot do without
    // logic around them. Nothing is lost: a state of that place is not waiting.
    if (!(enter && same_slot)) x1 <= states[reader[5:0]];
    if (!table_write) begin
      symbol2 <= symbols[SlotBits'({table1, slot1})];
      entry4 <= entries[EntryBits'({table3, symbol3})];
    end
    symbol3 <= symbol2;
    entry5 <= entry4;
    {table1, table2, table3, table4} <= {table_here, table1, table2, table3};
    {table5, table6, table7} <= {table4, table5, table6};
    {slot2, slot3, slot4, slot5} <= {slot1, slot2, slot3, slot4};
    {high2, high3, high4, high5} <= {high1, high2, high3, high4};
    product6 <= {24'd0, entry5[24:12]} * {13'd0, high5};
    rest6 <= $signed({1'b0, slot5}) - $signed({1'b0, entry5[11:0]});
    x7 <= product6[31:0] + 32'(rest6);
    x8 <= x7;
    low8 <= x7 < Lowest;
    // The level. To an escaped one, 0 is added.
    escaped <= {escaped[7:4], symbol3 == Escape};
    symbol4 <= symbol3 == Escape ? '0 : symbol3;
    {symbol5, symbol6, symbol7, symbol8} <= {symbol4, symbol5, symbol6, symbol7};
    base8 <= bases[table7];
  end

  assign retire = valid[8];
  assign take_digit = retire && low8;
  assign take_escape = retire && escaped[8];
  assign level8 = $signed({8'd0, symbol8}) + (escaped[8] ? escape : base8);
  // While states are taken no half was, and `digit` is the lower one.
  assign entering = {take_state ? digit_word[31:16] : low8 ? x8[15:0] : x8[31:16],
                     take_state || low8 ? digit : x8[15:0]};

  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= {valid[7:1], fire};
    final_of <= {final_of[7:1], is_final};
  end

  fmtc_reserved_fifo #(.WIDTH(16), .DEPTH(16)) levels (
      .clk, .rst, .room, .reserve(fire), .put(retire), .in_data(level8),
      .out_valid, .out_ready, .out_data(out_level)
  );

  // -- A chunk ------------------------------------------------------------------------------------
  // States that an encoder does not write, or that it did not begin with, are looked at a cycle later:
  // many bits, and none of the above waits for them.
  logic entered, entered_final;
  logic [31:0] last_entered;

  always_ff @(posedge clk) begin
    entered <= enter;
    entered_final <= take_state ? is_final : final_of[8];
    last_entered <= entering;
    if (start) bad <= chunk_bytes[0];
    else if (entered && (last_entered < Lowest || (entered_final && last_entered != Lowest)))
      bad <= 1'b1;
  end

  assign done_valid = state == StDone;
  assign done_bad = bad || excess != 0;  // fewer bytes than were needed, or more

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StIdle;
    end else begin
      unique case (state)
        StIdle: if (chunk_valid) state <= StStates;
        StStates: if (all_here) state <= StValues;
        StValues: if (all_begun && valid == '0 && !entered) state <= StDone;
        default: if (done_ready) state <= StIdle;
      endcase
    end
  end

  logic unused;
  assign unused = &{1'b0, unused_run, unused_table, product6[36:32], log2_total};
endmodule
