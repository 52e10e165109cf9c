// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { ChaCha20 } from "../src/ChaCha20.sol";
import { Test } from "./Test.sol";

/// @title ChaCha20 against RFC 8439, against the RFC's own steps one word at a time, and against what holders and buyers run.
contract ChaCha20Test is Test {
    uint256 private constant CURVE_ORDER = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001;
    uint32 private constant CHUNK_BLOCKS = 32; // 256 cells, eight a block
    uint256 private constant BLOCK_GAS_MAX = 8_000;
    uint256 private constant CHUNK_GAS_MAX = 280_000;

    function test_block_function_example_of_the_rfc() public pure {
        // RFC 8439 §2.3.2
        requireStream(
            0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f,
            0x000000090000004a00000000,
            1,
            0x10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e,
            0xd2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e
        );
    }

    function test_key_stream_vectors_of_the_rfc() public pure {
        // RFC 8439 A.1, in its order
        requireStream(
            0,
            0,
            0,
            0x76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7,
            0xda41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586
        );
        requireStream(
            0,
            0,
            1,
            0x9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed,
            0x29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f
        );
        requireStream(
            bytes32(uint256(1)),
            0,
            1,
            0x3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a,
            0x8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0
        );
        requireStream(
            0x00ff000000000000000000000000000000000000000000000000000000000000,
            0,
            2,
            0x72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca,
            0x13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096
        );
        requireStream(
            0,
            0x000000000000000000000002,
            0,
            0xc2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7,
            0x8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d
        );
    }

    /// @dev The digest is made by tests/privacy/test_pad_vectors.py with the library that holders and buyers run.
    function test_chained_random_blocks_are_those_of_the_library_that_holders_run() public pure {
        bytes32 digest;
        for (uint256 i = 0; i < 64; ++i) {
            bytes32 key = keccak256(abi.encode(i));
            bytes32 rest = keccak256(abi.encode(key));
            (bytes32 first, bytes32 second) = ChaCha20.keystream(key, bytes12(rest), uint32(uint256(rest)));
            digest = keccak256(abi.encode(digest, first, second));
        }
        assertEq(digest, 0xdaaf93575bc2b6ec9709ac07d7bf0abec2440d6932dd5000446a05910fc6bb15, "chain");
    }

    /// @dev The digests are made by tests/privacy/test_pad_vectors.py too.
    function test_pad_of_a_chunk_and_of_the_lane_are_those_of_holder_and_buyer() public pure {
        bytes32 key = keccak256("pad key");
        assertEq(
            keccak256(abi.encodePacked(padOfChunk(key, 0))),
            0x2f70d83330546f405dcd4912887706703e23b3a861035fa05358935e8e0e31a8,
            "chunk 0"
        );
        assertEq(
            keccak256(abi.encodePacked(padOfChunk(key, 3))),
            0x740783eb512ac37863db6343bdf96ab27267c2cc626f91ac0197442461177215,
            "chunk 3"
        );
        assertEq(padOfLane(key), 0x127f4604d6ec3d73ef650c5dc805804c4dafdc4ffbd5fed6cd6f9ffea40ddf11, "lane");
    }

    function testFuzz_four_lanes_at_once_are_the_rounds_of_the_rfc(bytes32 key, bytes12 nonce, uint32 counter)
        public
        pure
    {
        uint32[16] memory words = plainBlock(key, nonce, counter);
        (bytes32 first, bytes32 second) = ChaCha20.keystream(key, nonce, counter);
        (uint256 low, uint256 high) = ChaCha20.number(key, nonce, counter);
        (uint256 left, uint256 right) = ChaCha20.cells(key, nonce, counter);
        for (uint256 i = 0; i < 16; ++i) {
            uint256 serialised = uint32(uint256((i < 8 ? first : second) >> (224 - 32 * (i % 8))));
            assertEq(swapped(uint32(serialised)), words[i], "serialised");
            assertEq(uint32((i < 8 ? low : high) >> 32 * (i % 8)), words[i], "number");
            // cell i / 2: from the left, its second word is its upper half
            uint256 cell = (i < 8 ? left : right) >> (192 - 64 * (i % 8 / 2));
            assertEq(uint32(cell >> 32 * (i % 2)), words[i], "cells");
        }
    }

    function test_gas_of_a_block_and_of_a_chunk_beside_keccak() public {
        bytes32 key = keccak256("pad key");
        uint256 before = gasleft();
        ChaCha20.cells(key, 0, 1);
        uint256 one = before - gasleft();
        before = gasleft();
        padOfChunk(key, 0);
        uint256 chunk = before - gasleft();
        before = gasleft();
        keccakOfChunk(key, 0);
        uint256 keccaks = before - gasleft();
        emit log_named_uint("block of 64 bytes", one);
        emit log_named_uint("chunk of 256 cells", chunk);
        emit log_named_uint("chunk of 256 cells, keccak in counter mode", keccaks);
        assertLe(one, BLOCK_GAS_MAX, "block");
        assertLe(chunk, CHUNK_GAS_MAX, "chunk");
    }

    /// @dev What a dispute adds up for each survivor: block 0 is the lane's, eight cells a block follow.
    function padOfChunk(bytes32 key, uint32 chunk) private pure returns (uint256[] memory words) {
        words = new uint256[](2 * CHUNK_BLOCKS);
        for (uint32 i = 0; i < CHUNK_BLOCKS; ++i) {
            (words[2 * i], words[2 * i + 1]) = ChaCha20.cells(key, 0, 1 + chunk * CHUNK_BLOCKS + i);
        }
    }

    function padOfLane(bytes32 key) private pure returns (uint256) {
        (uint256 low, uint256 high) = ChaCha20.number(key, 0, 0);
        uint256 shift = addmod(type(uint256).max, 1, CURVE_ORDER); // 2^256
        return addmod(mulmod(high, shift, CURVE_ORDER), low, CURVE_ORDER);
    }

    /// @dev The pad that this one replaced, for its price.
    function keccakOfChunk(bytes32 key, uint256 chunk) private pure returns (uint256[] memory words) {
        words = new uint256[](2 * CHUNK_BLOCKS);
        for (uint256 i = 0; i < words.length; ++i) {
            uint256 counter = chunk * words.length + i;
            bytes32 digest;
            assembly ("memory-safe") {
                mstore(0x00, key)
                mstore(0x20, counter)
                digest := keccak256(0x00, 0x40)
            }
            words[i] = uint256(digest);
        }
    }

    function requireStream(bytes32 key, bytes12 nonce, uint32 counter, bytes32 first, bytes32 second)
        private
        pure
    {
        (bytes32 actualFirst, bytes32 actualSecond) = ChaCha20.keystream(key, nonce, counter);
        assertEq(actualFirst, first, "first half");
        assertEq(actualSecond, second, "second half");
    }

    /// @dev RFC 8439 §2.1 to §2.3, word by word.
    function plainBlock(bytes32 key, bytes12 nonce, uint32 counter)
        private
        pure
        returns (uint32[16] memory s)
    {
        (s[0], s[1], s[2], s[3]) = (0x61707865, 0x3320646e, 0x79622d32, 0x6b206574);
        for (uint256 i = 0; i < 8; ++i) {
            s[4 + i] = swapped(uint32(uint256(key) >> (224 - 32 * i)));
        }
        s[12] = counter;
        for (uint256 i = 0; i < 3; ++i) {
            s[13 + i] = swapped(uint32(uint96(nonce) >> (64 - 32 * i)));
        }
        uint32[16] memory start;
        for (uint256 i = 0; i < 16; ++i) {
            start[i] = s[i];
        }
        for (uint256 round = 0; round < 10; ++round) {
            for (uint256 i = 0; i < 4; ++i) {
                quarter(s, i, 4 + i, 8 + i, 12 + i);
            }
            for (uint256 i = 0; i < 4; ++i) {
                quarter(s, i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
            }
        }
        unchecked {
            for (uint256 i = 0; i < 16; ++i) {
                s[i] += start[i];
            }
        }
    }

    function quarter(uint32[16] memory s, uint256 a, uint256 b, uint256 c, uint256 d) private pure {
        unchecked {
            s[a] += s[b];
            s[d] = rotated(s[d] ^ s[a], 16);
            s[c] += s[d];
            s[b] = rotated(s[b] ^ s[c], 12);
            s[a] += s[b];
            s[d] = rotated(s[d] ^ s[a], 8);
            s[c] += s[d];
            s[b] = rotated(s[b] ^ s[c], 7);
        }
    }

    function rotated(uint32 x, uint32 n) private pure returns (uint32) {
        return x << n | x >> (32 - n);
    }

    function swapped(uint32 x) private pure returns (uint32) {
        return x >> 24 | (x >> 8 & 0xff00) | (x << 8 & 0xff0000) | x << 24;
    }
}
