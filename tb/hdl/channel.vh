// A channel on which a block offers messages. The block has, by the channel's name, `_valid` and `_payload`, outputs that
// are registers, `_ready`, and for itself `_message`, the next one, and `_busy`: no message can be offered in this clock.
`ifndef CHANNEL
`define CHANNEL

// First thing in a clock: what was taken makes room.
`define CHANNEL_STEP(channel) \
    begin \
        channel``_busy = channel``_valid && !channel``_ready; \
        channel``_valid <= channel``_busy; \
    end

// Offer the message, where the channel is not busy.
`define CHANNEL_OFFER(channel) \
    begin \
        channel``_payload <= channel``_message; \
        channel``_valid <= 1; \
        channel``_busy = 1; \
    end

`endif
