// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { LogAnchorFixture } from "./LogAnchorFixture.t.sol";

/// @title An operator that goes on honestly, and one that tries everything else.
contract LogAnchorHandler is LogAnchorFixture {
    uint64 private constant MOST = 40;

    uint64 public highest;
    bytes32 public violation;

    constructor() {
        deploy();
    }

    function doAppend(uint256 count) external {
        count = bound(count, 1, 9);
        if (leaves.length + count <= MOST) append(count, "honest");
    }

    function doAnchor(uint256 to) external {
        uint64 current = log.head().size;
        anchorAt(uint64(bound(to, current, leaves.length)));
        highest = log.head().size;
    }

    /// @dev The proof of the log itself, for a log in which one entry was exchanged below the anchored size.
    function doFork(uint256 entry, uint256 to) external {
        uint64 current = log.head().size;
        if (current == 0) return;
        entry = bound(entry, 0, current - 1);
        bytes32 honest = leaves[entry];
        leaves[entry] = keccak256("another entry");
        uint64 size = uint64(bound(to, current, leaves.length));
        _try(rootAt(size), size, proofBetween(current, size), operator, "fork");
        leaves[entry] = honest;
    }

    function doRollback(uint256 to) external {
        uint64 current = log.head().size;
        if (current == 0) return;
        uint64 size = uint64(bound(to, 0, current - 1));
        _try(rootAt(size), size, proofBetween(size, current), operator, "rollback");
    }

    function doGap(uint256 from, uint256 to) external {
        uint64 current = log.head().size;
        uint256 length = leaves.length;
        if (current == 0 || current + 2 > length) return;
        uint64 size = uint64(bound(to, uint256(current) + 2, length));
        uint256 start = bound(from, uint256(current) + 1, size - 1);
        bytes32[] memory proof = proofBetween(start, size);
        // The paths of two sizes are the same when both lead through the same subtrees: then the proof is the right one.
        if (keccak256(abi.encode(proof)) == keccak256(abi.encode(proofBetween(current, size)))) return;
        _try(rootAt(size), size, proof, operator, "gap");
    }

    function doImpostor() external {
        uint64 current = log.head().size;
        uint64 size = uint64(leaves.length);
        _try(rootAt(size), size, proofBetween(current, size), stranger, "impostor");
    }

    function trueRoot(uint64 size) external view returns (bytes32) {
        return rootAt(size);
    }

    function trueStatus(uint64 size) external pure returns (bytes32) {
        return statusAt(size);
    }

    function heldHead() external view returns (bytes32 root, bytes32 statusRoot, uint64 size) {
        return (log.head().root, log.head().statusRoot, log.head().size);
    }

    function _try(bytes32 root, uint64 size, bytes32[] memory proof, address sender, bytes32 what) private {
        vm.prank(sender);
        try log.anchor(root, size, statusAt(size), proof) {
            violation = what;
        } catch { }
    }
}

contract LogAnchorInvariantsTest is LogAnchorFixture {
    LogAnchorHandler private handler;

    function setUp() public {
        handler = new LogAnchorHandler();
        bytes4[] memory selectors = new bytes4[](6);
        selectors[0] = LogAnchorHandler.doAppend.selector;
        selectors[1] = LogAnchorHandler.doAnchor.selector;
        selectors[2] = LogAnchorHandler.doFork.selector;
        selectors[3] = LogAnchorHandler.doRollback.selector;
        selectors[4] = LogAnchorHandler.doGap.selector;
        selectors[5] = LogAnchorHandler.doImpostor.selector;
        target(address(handler), selectors);
    }

    function invariant_head_is_the_honest_logs_and_never_shrinks() public view {
        assertEq(handler.violation(), bytes32(0), "only the log's own growth is accepted");
        (bytes32 root, bytes32 statusRoot, uint64 size) = handler.heldHead();
        assertEq(root, handler.trueRoot(size), "root");
        assertEq(statusRoot, handler.trueStatus(size), "status root");
        assertEq(size, handler.highest(), "size");
    }
}
