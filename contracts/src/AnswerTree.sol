// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The tree over an answer's chunks: docs/protocol.md §5, shape and paths of RFC 6962 (algorithm of RFC 9162, 2.1.3.2).
library AnswerTree {
    bytes32 private constant TAG_ANSWER = keccak256("shuyao/v1/answer");
    bytes32 private constant TAG_LEAF = keccak256("shuyao/v1/answer-leaf");
    bytes32 private constant TAG_NODE = keccak256("shuyao/v1/answer-node");

    uint32 internal constant MAX_CELLS = 1 << 17;
    uint32 internal constant MAX_CHUNKS = MAX_CELLS / CELLS;
    uint32 private constant CELLS = 256;
    uint256 private constant CELL_BYTES = 8;
    uint256 private constant LANE_BYTES = 32;

    error AnswerTreeCellsWrong(uint32 cells);
    error AnswerTreePathWrong(uint32 chunk, uint256 length);

    /// @notice Number of chunks of an answer of that many cells.
    function chunks(uint32 cells) internal pure returns (uint32) {
        if (cells == 0 || cells > MAX_CELLS) revert AnswerTreeCellsWrong(cells);
        return (cells + CELLS - 1) / CELLS;
    }

    /// @notice Length in bytes of a chunk that exists; the last carries the Z_q lane too.
    function chunkLength(uint32 cells, uint32 chunk) internal pure returns (uint256) {
        if (chunk + 1 < chunks(cells)) return CELLS * CELL_BYTES;
        return (cells - chunk * CELLS) * CELL_BYTES + LANE_BYTES;
    }

    /// @notice The answer root that binds a tree to its session and size.
    function root(bytes32 session, uint32 cells, bytes32 treeRoot) internal pure returns (bytes32) {
        return keccak256(abi.encode(TAG_ANSWER, session, cells, treeRoot));
    }

    /// @notice The tree root that a chunk and its path, from the leaf up, lead to. Reverts if the path's length is wrong.
    function rootFromPath(
        bytes32 session,
        uint32 cells,
        uint32 chunk,
        bytes calldata data,
        bytes32[] calldata path
    ) internal pure returns (bytes32 node) {
        uint256 first = chunk;
        uint256 second = chunks(cells) - 1;
        node = keccak256(abi.encode(TAG_LEAF, session, chunk, keccak256(data)));
        for (uint256 i = 0; i < path.length; ++i) {
            if (second == 0) revert AnswerTreePathWrong(chunk, path.length);
            if (first & 1 == 1 || first == second) {
                node = keccak256(abi.encode(TAG_NODE, path[i], node));
                while (first & 1 == 0 && first != 0) {
                    first >>= 1;
                    second >>= 1;
                }
            } else {
                node = keccak256(abi.encode(TAG_NODE, node, path[i]));
            }
            first >>= 1;
            second >>= 1;
        }
        if (second != 0) revert AnswerTreePathWrong(chunk, path.length);
    }
}
