// Levels to chunks of interleaved rANS (docs/stream_format.md, "rANS chunks").
//
// A chunk is encoded from its last value to its first, so all of it comes in before; meanwhile the
// chunk before is encoded. The states are in a ring as in fmtc_rans_decoder: value i takes nine stages
// from reading state i mod S to writing it, and a value a cycle is encoded with 16 states and more.
//
// There is no stack here: what a payload has in front of its escaped levels leaves backwards, to be
// written to falling addresses, and the escaped levels leave forwards, to be written to rising ones
// from the same place on. The payload is what lies between the two ends.
module fmtc_rans_encoder #(
    parameter int TABLES = 4,        // a power of two, 1 to 16
    parameter int VALUES = 4096,     // of a chunk, at most; a power of two
    parameter int LOG2_TOTAL = 12,   // of the frequencies of any table, 8 to 12; 0: as log2_total says
    localparam int CountBits = $clog2(VALUES) + 1,
    localparam int TableBits = TABLES > 1 ? $clog2(TABLES) : 1
) (
    input logic clk,
    input logic rst,

    // Tables, written while nothing is encoded. Each has 256 entries, of level - base, 0 to 254, and of
    // the escape, 255: {escaped, reciprocal, shift, frequency, start} in 1, 32, 4, 13 and 12 bits, with
    // shift = ceil(log2 frequency) and reciprocal = floor(2^(32 + shift) / frequency) + 1 - 2^32. A
    // level without slots has the escape's entry. With table_bases, the base is written instead.
    input logic                 table_write,
    input logic                 table_bases,
    input logic [TableBits-1:0] table_number,
    input logic [          7:0] table_index,
    input logic [         61:0] table_data,
    input logic [          3:0] log2_total,

    input  logic                 chunk_valid,
    output logic                 chunk_ready,
    input  logic [CountBits-1:0] chunk_values,       // 1 to VALUES
    input  logic [          2:0] chunk_log2_states,  // 0 to 6

    // The runs of values with one table that the chunk consists of, and its values.
    input  logic                 run_valid,
    output logic                 run_ready,
    input  logic [TableBits-1:0] run_table,
    input  logic [CountBits-1:0] run_count,
    input  logic                 in_valid,
    output logic                 in_ready,
    input  logic signed [15:0]   in_level,

    // Half words: digits, then the states from the last to the first, the upper half of each before
    // the lower.
    output logic        front_valid,
    input  logic        front_ready,
    output logic [15:0] front_half,
    // Escaped levels.
    output logic        back_valid,
    input  logic        back_ready,
    output logic [15:0] back_half,

    // One a chunk, when all its half words were taken: how many.
    output logic               done_valid,
    input  logic               done_ready,
    output logic [CountBits:0] done_front,
    output logic [CountBits:0] done_back
);
  localparam logic [31:0] Lowest = 32'h1_0000;  // the state before the first value
  localparam int AddressBits = $clog2(VALUES);

  // -- The chunk that comes in --------------------------------------------------------------------
  logic filled_bank, coded_bank, filling, run_here, none_left, write;
  logic [1:0] full;
  logic [CountBits-1:0] values_of[2];
  logic [2:0] log2_states_of[2];
  logic [CountBits-1:0] place, values_here;
  logic [TableBits-1:0] table_here;
  logic coded;  // the other bank is wholly encoded

  assign chunk_ready = !filling && !full[filled_bank];
  assign in_ready = filling && run_here && !none_left;
  assign write = in_valid && in_ready;

  logic [4:0] unused_run;
  logic [TableBits-1:0] unused_table;
  fmtc_runs #(.TABLE_BITS(TableBits), .COUNT_BITS(CountBits)) runs (
      .clk, .rst, .run_valid, .run_ready, .run_table, .run_count, .run_join(1'b0), .run_last(1'b0),
      .here(run_here), .none_left, .one_left(unused_run[0]), .table_here,
      .join_here(unused_run[1]), .last_here(unused_run[2]), .ends(unused_run[3]),
      .step(write), .skip(1'b1), .hold(1'b0), .load(unused_run[4]), .next_table(unused_table)
  );

  always_ff @(posedge clk) begin
    if (rst) begin
      filling <= 1'b0;
      filled_bank <= 1'b0;
      full <= '0;
    end else begin
      if (chunk_valid && chunk_ready) filling <= 1'b1;
      if (write && place == values_here - 1'b1) begin
        filling <= 1'b0;
        filled_bank <= !filled_bank;
        full[filled_bank] <= 1'b1;
      end
      if (coded) full[coded_bank] <= 1'b0;
    end
    if (chunk_valid && chunk_ready) begin
      values_here <= chunk_values;
      values_of[filled_bank] <= chunk_values;
      log2_states_of[filled_bank] <= chunk_log2_states;
      place <= '0;
    end else if (write) begin
      place <= place + 1'b1;
    end
  end

  logic [TableBits+15:0] levels[2*VALUES];
  logic [TableBits+15:0] level_read, level_of;
  logic [AddressBits-1:0] reader;  // the value that is encoded next
  always_ff @(posedge clk) begin
    if (write) levels[{filled_bank, place[AddressBits-1:0]}] <= {table_here, in_level};
    level_read <= levels[{coded_bank, reader}];
    level_of <= level_read;
  end

  // -- The chunk that is encoded ------------------------------------------------------------------
  typedef enum logic [1:0] {StIdle, StValues, StStates, StDone} state_t;
  state_t state;
  logic [CountBits-1:0] left, values;
  logic [6:0] states_less_1;
  logic first_round;
  logic [6:0] round_left;  // values whose state is that before any

  localparam int Fetch = 6;            // cycles from the issue of a value to the read of its state
  localparam int Ring = 9;             // from there to the next read of that state
  localparam int Total = Fetch + Ring;
  logic [Total-1:1] valid;
  logic fire, front_room, back_room;
  logic [6:0] free;

  assign fire = state == StValues && left != '0 && free != '0 && front_room && back_room;
  assign first_round = round_left != '0;

  // -- The entry of a value: stages 3 to 6 --------------------------------------------------------
  logic signed [15:0] bases[TABLES];
  logic [61:0] entries[TABLES*256];
  logic [61:0] entry_read, entry;
  logic [TableBits-1:0] table3;
  logic signed [15:0] level2, base2;
  logic [TableBits-1:0] table2;
  logic [16:0] symbol3;
  logic [7:0] index3;
  logic [6:3][15:0] level_at;
  localparam int EntryBits = $clog2(TABLES) + 8;

  assign {table2, level2} = level_of;
  assign base2 = bases[table2];
  assign index3 = symbol3 < 17'd255 ? symbol3[7:0] : 8'd255;

  always_ff @(posedge clk) begin
    if (table_write && !table_bases)
      entries[EntryBits'({table_number, table_index})] <= table_data;
    if (table_write && table_bases) bases[table_number] <= table_data[15:0];
  end

  logic [7:0] index4;
  logic [TableBits-1:0] table4;
  always_ff @(posedge clk) begin
    symbol3 <= 17'(level2) - 17'(base2);
    table3 <= table2;
    index4 <= index3;
    table4 <= table3;
    entry_read <= entries[EntryBits'({table4, index4})];
    entry <= entry_read;
    level_at <= {level_at[5:3], level2};
  end

  // -- The ring -----------------------------------------------------------------------------------
  logic [31:0] states[64];
  logic [Fetch:1] first_at;
  logic [Total-1:1][5:0] state_at;

  // Stage 6: the state is read; a digit leaves it where it would grow too large.
  logic [31:0] x6, x7;
  logic [12:0] limit6;
  logic gives, escaped6;
  logic [12:0] frequency6, frequency7, frequency8, frequency9, frequency10, frequency11;
  logic [11:0] start7, start8, start9, start10, start11, start12, start13;
  logic [3:0] shift7, shift8, shift9, shift10;
  logic [31:0] reciprocal7;
  logic [31:0] x8, x9, x10, x11, x12, x13;
  assign x6 = first_at[6] ? Lowest : states[state_at[6]];
  assign frequency6 = entry[24:12];
  assign escaped6 = entry[61];
  always_comb begin
    unique case (LOG2_TOTAL == 0 ? log2_total : 4'(LOG2_TOTAL))
      4'd8: limit6 = {5'd0, x6[31:24]};
      4'd9: limit6 = {4'd0, x6[31:23]};
      4'd10: limit6 = {3'd0, x6[31:22]};
      4'd11: limit6 = {2'd0, x6[31:21]};
      default: limit6 = {1'd0, x6[31:20]};
    endcase
  end
  assign gives = limit6 >= frequency6;

  // 8 and 9: the upper half of x * reciprocal, from four products. 10: with x, shifted: the quotient.
  logic [31:0] low_low8, low_high8, high_low8, high_high8;
  logic [63:0] product9;
  logic [31:0] upper10;
  logic [23:0] quotient11;
  logic [32:0] with_x;
  assign with_x = {1'b0, x10} + {1'b0, upper10};
  // 12 and 13: quotient * (total - frequency). 14: the new state.
  logic [12:0] total, rest11;
  logic [36:0] product12, product13;
  logic [31:0] x14;
  assign total = 13'd1 << (LOG2_TOTAL == 0 ? log2_total : 4'(LOG2_TOTAL));

  always_ff @(posedge clk) begin
    x7 <= gives ? {16'd0, x6[31:16]} : x6;
    {reciprocal7, shift7, frequency7, start7} <= entry[60:0];

    low_low8 <= 32'(x7[15:0]) * 32'(reciprocal7[15:0]);
    low_high8 <= 32'(x7[15:0]) * 32'(reciprocal7[31:16]);
    high_low8 <= 32'(x7[31:16]) * 32'(reciprocal7[15:0]);
    high_high8 <= 32'(x7[31:16]) * 32'(reciprocal7[31:16]);
    product9 <= {high_high8, low_low8} + {15'd0, 33'(low_high8) + 33'(high_low8), 16'd0};
    upper10 <= product9[63:32];
    quotient11 <= 24'(with_x >> shift10);
    rest11 <= total - frequency10;
    product12 <= 37'(quotient11) * 37'(rest11);
    product13 <= product12;
    x14 <= x13 + product13[31:0] + {20'd0, start13};

    {x8, x9, x10, x11, x12, x13} <= {x7, x8, x9, x10, x11, x12};
    {shift8, shift9, shift10} <= {shift7, shift8, shift9};
    {frequency8, frequency9, frequency10, frequency11} <=
        {frequency7, frequency8, frequency9, frequency10};
    {start8, start9, start10, start11, start12, start13} <=
        {start7, start8, start9, start10, start11, start12};
    if (valid[Total-1]) states[state_at[Total-1]] <= x14;
  end

  always_ff @(posedge clk) begin
    if (rst) valid <= '0;
    else valid <= {valid[Total-2:1], fire};
    first_at <= {first_at[Fetch-1:1], first_round};
    state_at <= {state_at[Total-2:1], reader[5:0] & states_less_1[5:0]};
  end

  // -- What leaves --------------------------------------------------------------------------------
  // A value that is begun has room for a digit and an escaped level, which it gives back if it does
  // not need it.
  localparam int Room = 16;
  logic [$clog2(Room):0] front_free, back_free;
  logic put_front, put_back, front_taken, back_taken, state_put, upper;
  logic [5:0] state_out;
  logic [31:0] state_value;
  logic [15:0] front_in;
  logic [1:0] always_ready;

  assign front_room = front_free != '0;
  assign back_room = back_free != '0;
  assign state_put = state == StStates && front_room;
  assign put_front = (valid[6] && gives) || state_put;
  assign put_back = valid[6] && escaped6;
  assign front_taken = front_valid && front_ready;
  assign back_taken = back_valid && back_ready;
  assign state_value = {{CountBits - 6{1'b0}}, state_out} >= values ? Lowest : states[state_out];
  assign front_in = state_put ? (upper ? state_value[31:16] : state_value[15:0]) : x6[15:0];

  fmtc_fifo #(.WIDTH(16), .DEPTH(Room)) fronts (
      .clk, .rst, .in_valid(put_front), .in_ready(always_ready[0]), .in_data(front_in),
      .out_valid(front_valid), .out_ready(front_ready), .out_data(front_half)
  );
  fmtc_fifo #(.WIDTH(16), .DEPTH(Room)) backs (
      .clk, .rst, .in_valid(put_back), .in_ready(always_ready[1]), .in_data(level_at[6]),
      .out_valid(back_valid), .out_ready(back_ready), .out_data(back_half)
  );

  localparam int FreeBits = $clog2(Room) + 1;
  always_ff @(posedge clk) begin
    if (rst) begin
      front_free <= FreeBits'(Room);
      back_free <= FreeBits'(Room);
    end else begin
      front_free <= front_free - FreeBits'(fire || state_put) + FreeBits'(front_taken) +
                    FreeBits'(valid[6] && !gives);
      back_free <= back_free - FreeBits'(fire) + FreeBits'(back_taken) +
                   FreeBits'(valid[6] && !escaped6);
    end
  end

  // -- A chunk ------------------------------------------------------------------------------------
  logic ring_empty;
  assign ring_empty = valid == '0;
  assign coded = state == StValues && left == '0 && ring_empty;
  assign done_valid = state == StDone && front_free == FreeBits'(Room) &&
                      back_free == FreeBits'(Room);

  always_ff @(posedge clk) begin
    if (rst) begin
      state <= StIdle;
      coded_bank <= 1'b0;
    end else begin
      unique case (state)
        StIdle: if (full[coded_bank]) state <= StValues;
        StValues: if (coded) state <= StStates;
        StStates: if (state_put && !upper && state_out == '0) state <= StDone;
        default: if (done_valid && done_ready) state <= StIdle;
      endcase
      if (coded) coded_bank <= !coded_bank;
    end

    if (state == StIdle) begin
      left <= values_of[coded_bank];
      values <= values_of[coded_bank];
      reader <= AddressBits'(values_of[coded_bank] - 1'b1);
      states_less_1 <= 7'((8'd1 << log2_states_of[coded_bank]) - 8'd1);
      round_left <= 7'd1 << log2_states_of[coded_bank];
      free <= 7'd1 << log2_states_of[coded_bank];
      done_front <= '0;
      done_back <= '0;
      upper <= 1'b1;
    end else begin
      if (fire) begin
        left <= left - 1'b1;
        reader <= reader - 1'b1;
        if (first_round) round_left <= round_left - 1'b1;
      end
      if (fire && !valid[Ring-1]) free <= free - 1'b1;
      else if (!fire && valid[Ring-1]) free <= free + 1'b1;
      if (put_front) done_front <= done_front + 1'b1;
      if (put_back) done_back <= done_back + 1'b1;
      if (state == StValues) state_out <= states_less_1[5:0];
      if (state_put) begin
        upper <= !upper;
        if (!upper) state_out <= state_out - 1'b1;
      end
    end
  end

  logic unused;
  assign unused = &{1'b0, unused_run, unused_table, always_ready, log2_total, product9[31:0],
                    product13[36:32], frequency11, place[CountBits-1], states_less_1[6]};
endmodule
