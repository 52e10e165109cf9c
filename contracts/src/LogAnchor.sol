// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { AccessManaged } from "@openzeppelin/contracts/access/manager/AccessManaged.sol";
import { ILogAnchor } from "./interfaces/ILogAnchor.sol";
import { Rfc6962 } from "./Rfc6962.sol";

/// @title LogAnchor
/// @dev One per log. `anchor` calls nobody but the SHA-256 precompile: the operator is an account in own storage, which alone the
/// AccessManager can change. Storage, which offline verifiers read by Merkle–Patricia proof: slot 1 root, slot 2 statusRoot, slot 3
/// size (low 8 bytes) and time (next 8), slot 5 the binding. Filled by the constructor, so that no anchor pays for fresh slots.
contract LogAnchor is ILogAnchor, AccessManaged {
    bytes32 private constant TAG_ANCHOR = keccak256("shuyao/v1/anchor");

    Head private _head;
    address public operator;
    bytes32 public binding;
    bytes32 public immutable originHash;

    constructor(address manager, address operator_, bytes32 originHash_) AccessManaged(manager) {
        originHash = originHash_;
        binding = keccak256(abi.encode(TAG_ANCHOR, block.chainid, originHash_));
        _setOperator(operator_);
        _setHead(Rfc6962.EMPTY_ROOT, 0, Rfc6962.EMPTY_ROOT);
    }

    /// @inheritdoc ILogAnchor
    function anchor(bytes32 root, uint64 size, bytes32 statusRoot, bytes32[] calldata proof) external {
        if (msg.sender != operator) revert LogAnchorNotOperator(msg.sender);
        uint64 current = _head.size;
        if (size < current) revert LogAnchorRollback(size, current);
        if (size == current) _requireSame(root, size, statusRoot, proof.length);
        else if (current == 0) _requireNoProof(size, proof.length);
        else _requireExtends(current, root, size, proof);
        _setHead(root, size, statusRoot);
    }

    /// @inheritdoc ILogAnchor
    function setOperator(address operator_) external restricted {
        _setOperator(operator_);
    }

    /// @inheritdoc ILogAnchor
    function head() external view returns (Head memory) {
        return _head;
    }

    function _requireSame(bytes32 root, uint64 size, bytes32 statusRoot, uint256 proofLength) private view {
        bytes32 currentRoot = _head.root;
        bytes32 currentStatusRoot = _head.statusRoot;
        if (root != currentRoot) revert LogAnchorFork(size, root, size, currentRoot);
        if (statusRoot != currentStatusRoot) revert LogAnchorStatusFork(size, statusRoot, currentStatusRoot);
        if (proofLength != 0) revert LogAnchorProofInvalid(size, size);
    }

    /// @dev Every tree extends the empty one.
    function _requireNoProof(uint64 size, uint256 proofLength) private pure {
        if (proofLength != 0) revert LogAnchorProofInvalid(0, size);
    }

    function _requireExtends(uint64 current, bytes32 root, uint64 size, bytes32[] calldata proof)
        private
        view
    {
        if (proof.length > Rfc6962.MAX_PROOF) {
            revert LogAnchorProofTooLong(proof.length, Rfc6962.MAX_PROOF);
        }
        bytes32 currentRoot = _head.root;
        (bool isWhole, bytes32 first, bytes32 second) =
            Rfc6962.rootsFromConsistency(current, currentRoot, size, proof);
        if (!isWhole || second != root) revert LogAnchorProofInvalid(current, size);
        if (first != currentRoot) revert LogAnchorFork(size, root, current, currentRoot);
    }

    function _setHead(bytes32 root, uint64 size, bytes32 statusRoot) private {
        uint64 time = uint64(block.timestamp);
        _head = Head({ root: root, statusRoot: statusRoot, size: size, time: time });
        emit Anchored(size, root, statusRoot, time);
    }

    function _setOperator(address operator_) private {
        if (operator_ == address(0)) revert LogAnchorAddressZero();
        operator = operator_;
        emit OperatorChanged(operator_);
    }
}
