// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The shape of an unmask message: docs/protocol.md §4, kind 3.
library UnmaskMessage {
    uint256 private constant HEADER = 2;
    uint256 private constant ENTRY = 35;
    uint8 private constant SEED = 1;
    uint8 private constant MASK_KEY = 2;

    /// @notice Whether it has exactly one share for each of those who shared, ascending by index: of the seed for as many as survived,
    /// of the mask key for the others. The shares themselves cannot be checked here.
    function isWellFormed(bytes calldata payload, uint256 approved, uint256 shared, uint256 survivors)
        internal
        pure
        returns (bool)
    {
        if (payload.length != HEADER + shared * ENTRY || uint16(bytes2(payload)) != shared) return false;
        uint256 lowest = 0;
        uint256 seeds = 0;
        for (uint256 offset = HEADER; offset < payload.length; offset += ENTRY) {
            uint256 index = uint16(bytes2(payload[offset:]));
            uint8 kind = uint8(payload[offset + 2]);
            if (index < lowest || index >= approved || kind < SEED || kind > MASK_KEY) return false;
            lowest = index + 1;
            if (kind == SEED) ++seeds;
        }
        return seeds == survivors;
    }
}
