// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The key stream of ChaCha20 (RFC 8439 §2.3), one block at a time, to recompute a buyer's pad in a dispute.
/// @dev One row of the state is one word: its four 32-bit words stand in four lanes of 64 bits, the first in the lowest. A sum
///      never leaves its lane, so a row of quarter rounds is a few operations on whole words.
library ChaCha20 {
    /// @notice The 64 bytes of a block, as RFC 8439 serialises them.
    function keystream(bytes32 key, bytes12 nonce, uint32 counter)
        internal
        pure
        returns (bytes32 first, bytes32 second)
    {
        (uint256 a, uint256 b, uint256 c, uint256 d) = _block(key, nonce, counter);
        first = bytes32(_serialised(a) << 128 | _serialised(b));
        second = bytes32(_serialised(c) << 128 | _serialised(d));
    }

    /// @notice The eight little-endian u64 of a block as numbers, four to a word, the first on the left: the cells of a pad.
    function cells(bytes32 key, bytes12 nonce, uint32 counter)
        internal
        pure
        returns (uint256 first, uint256 second)
    {
        (uint256 a, uint256 b, uint256 c, uint256 d) = _block(key, nonce, counter);
        first = _pairs(a) << 128 | _pairs(b);
        second = _pairs(c) << 128 | _pairs(d);
    }

    /// @notice The 64 bytes of a block as one little-endian number, low and high half: what a Z_q lane reduces.
    function number(bytes32 key, bytes12 nonce, uint32 counter)
        internal
        pure
        returns (uint256 low, uint256 high)
    {
        (uint256 a, uint256 b, uint256 c, uint256 d) = _block(key, nonce, counter);
        low = _packed(b) << 128 | _packed(a);
        high = _packed(d) << 128 | _packed(c);
    }

    /// @dev The rows of the state after 20 rounds and the addition of the first state, clean lanes.
    function _block(bytes32 key, bytes12 nonce, uint32 counter)
        private
        pure
        returns (uint256 a, uint256 b, uint256 c, uint256 d)
    {
        b = _lanes(uint256(key) >> 128);
        c = _lanes(uint256(key) & type(uint128).max);
        d = _lanes(uint256(uint96(nonce))) | counter;
        (a, b, c, d) = _rounds(b, c, d);
    }

    /// @dev a and c collect carries above their 32 bits (40 additions stay below 2^39) and are cleaned where they meet b and d.
    function _rounds(uint256 b0, uint256 c0, uint256 d0)
        private
        pure
        returns (uint256 a, uint256 b, uint256 c, uint256 d)
    {
        assembly ("memory-safe") {
            let mask := 0x00000000ffffffff00000000ffffffff00000000ffffffff00000000ffffffff
            // x · (2^32 + 1) doubles every lane's word, so that a rotation to the left by n is a shift to the right by 32 − n
            let twice := 0x100000001
            a := 0x000000006b2065740000000079622d32000000003320646e0000000061707865
            b := b0
            c := c0
            d := d0
            for { let i := 0 } lt(i, 10) { i := add(i, 1) } {
                a := add(a, b)
                d := and(shr(16, mul(and(xor(d, a), mask), twice)), mask)
                c := add(c, d)
                b := and(shr(20, mul(and(xor(b, c), mask), twice)), mask)
                a := add(a, b)
                d := and(shr(24, mul(and(xor(d, a), mask), twice)), mask)
                c := add(c, d)
                b := and(shr(25, mul(and(xor(b, c), mask), twice)), mask)
                // the diagonals become columns
                b := or(shr(64, b), shl(192, b))
                c := or(shr(128, c), shl(128, c))
                d := or(shr(192, d), shl(64, d))
                a := add(a, b)
                d := and(shr(16, mul(and(xor(d, a), mask), twice)), mask)
                c := add(c, d)
                b := and(shr(20, mul(and(xor(b, c), mask), twice)), mask)
                a := add(a, b)
                d := and(shr(24, mul(and(xor(d, a), mask), twice)), mask)
                c := add(c, d)
                b := and(shr(25, mul(and(xor(b, c), mask), twice)), mask)
                b := or(shl(64, b), shr(192, b))
                c := or(shl(128, c), shr(128, c))
                d := or(shl(192, d), shr(64, d))
            }
            a := and(add(a, 0x000000006b2065740000000079622d32000000003320646e0000000061707865), mask)
            b := and(add(b, b0), mask)
            c := and(add(c, c0), mask)
            d := and(add(d, d0), mask)
        }
    }

    /// @dev 16 bytes, little-endian words in order, to lanes.
    function _lanes(uint256 x) private pure returns (uint256) {
        x = _swapped(x);
        return
            x >> 96 | (x >> 64 & 0xffffffff) << 64 | (x >> 32 & 0xffffffff) << 128 | (x & 0xffffffff) << 192;
    }

    /// @dev Lanes to one number of 128 bits, the first word lowest.
    function _packed(uint256 row) private pure returns (uint256) {
        row |= row >> 32; // pairs, in lanes 0 and 2
        return row & type(uint64).max | (row >> 128 & type(uint64).max) << 64;
    }

    /// @dev Lanes to two u64 in 128 bits, the first on the left.
    function _pairs(uint256 row) private pure returns (uint256) {
        row |= row >> 32;
        return (row & type(uint64).max) << 64 | row >> 128 & type(uint64).max;
    }

    /// @dev Lanes to 16 bytes, little-endian words in order.
    function _serialised(uint256 row) private pure returns (uint256) {
        uint256 words = (row & 0xffffffff) << 96 | (row >> 64 & 0xffffffff) << 64 | (row >> 128 & 0xffffffff)
            << 32 | row >> 192;
        return _swapped(words);
    }

    /// @dev Reverses the bytes of each of four 32-bit words.
    function _swapped(uint256 x) private pure returns (uint256) {
        x = (x & 0xff00ff00ff00ff00ff00ff00ff00ff00) >> 8 | (x & 0x00ff00ff00ff00ff00ff00ff00ff00ff) << 8;
        return (x & 0xffff0000ffff0000ffff0000ffff0000) >> 16 | (x & 0x0000ffff0000ffff0000ffff0000ffff) << 16;
    }
}
