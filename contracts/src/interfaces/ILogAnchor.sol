// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The newest head of one transparency log, which only ever grows.
/// @notice Each new head comes with an RFC 6962 consistency proof from the one before, which the contract verifies itself: whatever
/// the operator signs, a log that forks, shrinks or skips the head that is anchored here is refused.
interface ILogAnchor {
    /// @param root RFC 6962 root of the log's first `size` entries
    /// @param statusRoot Merkle root of the status list digests logged up to `size`
    /// @param time of the block that anchored it, Unix seconds
    struct Head {
        bytes32 root;
        bytes32 statusRoot;
        uint64 size;
        uint64 time;
    }

    event Anchored(uint64 indexed size, bytes32 root, bytes32 statusRoot, uint64 time);
    event OperatorChanged(address indexed operator);

    error LogAnchorAddressZero();
    error LogAnchorNotOperator(address caller);
    /// @notice The log would shrink.
    error LogAnchorRollback(uint64 size, uint64 current);
    /// @notice The new head does not extend the current one: another root at the same size, or a proof that leads to the new root
    /// from another tree.
    error LogAnchorFork(uint64 size, bytes32 root, uint64 current, bytes32 currentRoot);
    /// @notice Another status root for the size that is anchored already.
    error LogAnchorStatusFork(uint64 size, bytes32 statusRoot, bytes32 currentStatusRoot);
    /// @notice The proof does not lead from the current size to the new root.
    error LogAnchorProofInvalid(uint64 current, uint64 size);
    error LogAnchorProofTooLong(uint256 length, uint256 most);

    /// @notice Anchors a head (operator). Anchoring the current head again renews its time only.
    /// @param proof RFC 6962 consistency proof from the current size to `size`; empty from size 0 and at the same size
    function anchor(bytes32 root, uint64 size, bytes32 statusRoot, bytes32[] calldata proof) external;

    /// @notice Makes another account the operator (the manager's role).
    function setOperator(address operator) external;

    function head() external view returns (Head memory);

    /// @notice The account that anchors.
    function operator() external view returns (address);

    /// @notice SHA-256 of the log's origin, the first line of its checkpoints.
    function originHash() external view returns (bytes32);

    /// @notice H("anchor"; chain id, originHash), fixed at deployment: block headers do not name their chain, so that a proof from a
    /// second chain with the same validators and the same deployer would pass for one from this chain without it.
    function binding() external view returns (bytes32);
}
