// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { Rfc6962 } from "../src/Rfc6962.sol";
import { LogAnchorFixture } from "./LogAnchorFixture.t.sol";

/// @title What an anchor costs, in gas of whole transactions.
/// @dev A proof leads to some pair of roots whatever its hashes are, so that a log of 52 million entries need not be built: the first
/// root is anchored, the second offered. With `isolate` each call is a transaction of its own.
contract LogAnchorGasTest is LogAnchorFixture {
    uint256 private constant LIMIT = 80_000;
    /// @dev A slot that was zero would cost 17,100 more.
    uint256 private constant FIRST_LIMIT = 45_000;
    uint256 private constant BATCH = 4096;
    uint256 private constant PER_EVENT_LIMIT = 30;
    uint64 private constant ALL = 52_150_000;
    /// @dev Less one it is 10111…10 in binary: 27 hashes to any size up to 2^26, of which 23 enter both roots.
    uint64 private constant WORST = 50_331_647;

    function setUp() public {
        deploy();
    }

    function roots(uint64 size1, uint64 size2, bytes32[] calldata proof)
        external
        view
        returns (bool isWhole, bytes32 first, bytes32 second)
    {
        return Rfc6962.rootsFromConsistency(size1, keccak256("a full tree's root"), size2, proof);
    }

    /// forge-config: default.isolate = true
    function test_anchor_costs_at_most_the_limit_with_the_longest_proof() public {
        uint256 worst = _measure(WORST, ALL);
        emit log_named_uint("anchor with 27 hashes", worst);
        emit log_named_uint("gas for each event of a batch", worst / BATCH);
        assertLe(worst, LIMIT, "gas of an anchor");
        assertLe(worst, PER_EVENT_LIMIT * BATCH, "gas for each event");
    }

    /// forge-config: default.isolate = true
    function test_batch_anchored_at_any_size_costs_at_most_the_limit() public {
        uint64[6] memory sizes = [uint64(4096), 1 << 20, (1 << 25) - 1, 1 << 25, WORST, ALL - 4096];
        for (uint256 i = 0; i < sizes.length; ++i) {
            uint256 gas = _measure(sizes[i], sizes[i] + uint64(BATCH));
            emit log_named_uint("anchor", gas);
            assertLe(gas, LIMIT, "gas of an anchor");
        }
    }

    /// forge-config: default.isolate = true
    function test_first_anchor_costs_no_more_than_others() public {
        vm.prank(operator);
        log.anchor(keccak256("root"), 4096, keccak256("status"), new bytes32[](0));
        uint256 first = vm.lastCallGas().gasTotalUsed;
        vm.prank(operator);
        log.anchor(keccak256("root"), 4096, keccak256("status"), new bytes32[](0));
        emit log_named_uint("first anchor", first);
        assertLe(first, FIRST_LIMIT, "gas of the first anchor");
    }

    function _measure(uint64 size1, uint64 size2) private returns (uint256) {
        deploy();
        (bytes32[] memory proof, bytes32 first, bytes32 second) = _proof(size1, size2);
        emit log_named_uint("hashes", proof.length);
        vm.prank(operator);
        log.anchor(first, size1, keccak256("status of the first"), new bytes32[](0));
        vm.prank(operator);
        log.anchor(second, size2, keccak256("status of the second"), proof);
        return vm.lastCallGas().gasTotalUsed;
    }

    /// @dev As many hashes as the sizes need, no byte of them zero: zero bytes are cheaper.
    function _proof(uint64 size1, uint64 size2)
        private
        view
        returns (bytes32[] memory proof, bytes32 first, bytes32 second)
    {
        for (uint256 length = 0; length <= Rfc6962.MAX_PROOF; ++length) {
            proof = new bytes32[](length);
            for (uint256 i = 0; i < length; ++i) {
                proof[i] = keccak256(abi.encode(i)) | bytes32(type(uint256).max / 255);
            }
            bool isWhole;
            (isWhole, first, second) = this.roots(size1, size2, proof);
            if (isWhole) return (proof, first, second);
        }
        revert("no proof has that length");
    }
}
