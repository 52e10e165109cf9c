// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManager } from "@openzeppelin/contracts/access/manager/AccessManager.sol";
import { LogAnchor } from "../src/LogAnchor.sol";
import { Test } from "./Test.sol";

/// @title The cheat code for the block's time.
interface Clock {
    function warp(uint256 time) external;
}

/// @title An anchor with its operator, and a log whose trees are computed by the recursive definitions of RFC 6962, 2.1 and 2.1.2: not
/// the algorithm that the contract verifies with.
abstract contract LogAnchorFixture is Test {
    uint64 internal constant LOG_ADMIN_ROLE = 4;
    bytes32 internal constant EMPTY = 0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855;
    bytes32 internal constant ORIGIN = keccak256("origin");
    Clock internal constant clock = Clock(address(uint160(uint256(keccak256("hevm cheat code")))));

    address internal immutable operator = address(0x2001);
    address internal immutable admin = address(0x2002);
    address internal immutable stranger = address(0x2003);

    AccessManager internal manager;
    LogAnchor internal log;
    bytes32[] internal leaves;

    function deploy() internal {
        clock.warp(1_800_000_000);
        manager = new AccessManager(address(this));
        log = new LogAnchor(address(manager), operator, ORIGIN);
        bytes4[] memory selectors = new bytes4[](1);
        selectors[0] = LogAnchor.setOperator.selector;
        manager.setTargetFunctionRole(address(log), selectors, LOG_ADMIN_ROLE);
        manager.grantRole(LOG_ADMIN_ROLE, admin, 0);
    }

    function append(uint256 count, bytes32 salt) internal {
        for (uint256 i = 0; i < count; ++i) {
            leaves.push(sha256(abi.encodePacked(hex"00", salt, leaves.length)));
        }
    }

    /// @dev Anchors the log's first `size` entries with the proof from the size that is anchored.
    function anchorAt(uint64 size) internal {
        bytes32[] memory proof = proofBetween(log.head().size, size);
        bytes32 root = rootAt(size);
        vm.prank(operator);
        log.anchor(root, size, statusAt(size), proof);
    }

    function statusAt(uint64 size) internal pure returns (bytes32) {
        return size == 0 ? EMPTY : keccak256(abi.encode("status", size));
    }

    function rootAt(uint256 size) internal view returns (bytes32) {
        return size == 0 ? EMPTY : _root(0, size);
    }

    function proofBetween(uint256 size1, uint256 size2) internal view returns (bytes32[] memory) {
        if (size1 == 0 || size1 == size2) return new bytes32[](0);
        return _subproof(size1, 0, size2, true);
    }

    function _root(uint256 from, uint256 to) private view returns (bytes32) {
        if (to - from == 1) return leaves[from];
        uint256 k = _split(to - from);
        return sha256(abi.encodePacked(hex"01", _root(from, from + k), _root(from + k, to)));
    }

    function _subproof(uint256 m, uint256 from, uint256 to, bool isWhole)
        private
        view
        returns (bytes32[] memory)
    {
        uint256 n = to - from;
        if (m == n) return isWhole ? new bytes32[](0) : _with(new bytes32[](0), _root(from, to));
        uint256 k = _split(n);
        if (m <= k) return _with(_subproof(m, from, from + k, isWhole), _root(from + k, to));
        return _with(_subproof(m - k, from + k, to, false), _root(from, from + k));
    }

    function _with(bytes32[] memory list, bytes32 last) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](list.length + 1);
        for (uint256 i = 0; i < list.length; ++i) {
            longer[i] = list[i];
        }
        longer[list.length] = last;
    }

    /// @dev The largest power of two below n.
    function _split(uint256 n) private pure returns (uint256 k) {
        k = 1;
        while (2 * k < n) k *= 2;
    }
}
