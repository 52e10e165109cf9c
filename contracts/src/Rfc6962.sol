// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The Merkle tree of RFC 6962, 2.1: SHA-256, a leaf's hash tagged 0x00, a node's 0x01.
library Rfc6962 {
    bytes32 internal constant EMPTY_ROOT = sha256("");
    /// @notice More than any proof between sizes below 2^64 has.
    uint256 internal constant MAX_PROOF = 65;

    /// @notice The roots of both trees that a consistency proof leads to: algorithm of RFC 9162, 2.1.4.2, without its last comparison.
    /// @dev In assembly because the longest verification takes fifty hashes. The 65 bytes that are hashed, 0x01 ‖ left ‖ right, lie
    /// behind the free memory pointer and are not kept.
    /// @param size1 the older size, 0 < size1 < size2
    /// @param root1 the older root, with which the path starts if the older tree is full: then the proof does not repeat it
    /// @return isWhole whether the proof has exactly as many hashes as the two sizes need; if not, the roots mean nothing
    function rootsFromConsistency(uint256 size1, bytes32 root1, uint256 size2, bytes32[] calldata proof)
        internal
        view
        returns (bool isWhole, bytes32 first, bytes32 second)
    {
        uint256 older = size1 - 1;
        uint256 newer = size2 - 1;
        while (older & 1 == 1) {
            older >>= 1;
            newer >>= 1;
        }
        first = root1;
        if (older != 0) {
            if (proof.length == 0) return (false, 0, 0);
            first = proof[0];
            proof = proof[1:];
        }
        second = first;
        assembly ("memory-safe") {
            function hashOf(node) -> hash {
                if iszero(staticcall(gas(), 2, node, 65, 0, 32)) { revert(0, 0) }
                hash := mload(0)
            }
            let node := mload(0x40)
            let left := add(node, 1)
            let right := add(node, 33)
            mstore8(node, 1)
            let end := add(proof.offset, shl(5, proof.length))
            for { let next := proof.offset } lt(next, end) { next := add(next, 32) } {
                if iszero(newer) {
                    newer := 1 // a hash too many
                    break
                }
                switch or(and(older, 1), eq(older, newer))
                case 0 {
                    mstore(left, second)
                    mstore(right, calldataload(next))
                    second := hashOf(node)
                }
                default {
                    mstore(left, calldataload(next))
                    mstore(right, first)
                    first := hashOf(node)
                    mstore(right, second)
                    second := hashOf(node)
                    for { } and(iszero(and(older, 1)), gt(older, 0)) { } {
                        older := shr(1, older)
                        newer := shr(1, newer)
                    }
                }
                older := shr(1, older)
                newer := shr(1, newer)
            }
            isWhole := iszero(newer)
        }
    }
}
