// Random numbers of a block, which seeds `random` in reset and includes this among its declarations: a xorshift generator.
    reg [31:0] random;
    integer drawn;

    // The next number, `drawn`, is below `limit`, at most 65,536. Simulators differ in which parts of an expression they
    // evaluate, so it is no function.
    task draw(input integer limit);
        begin
            random = random ^ (random << 13);
            random = random ^ (random >> 17);
            random = random ^ (random << 5);
            drawn = random[31:16] * limit >> 16;
        end
    endtask
