// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { ECDSA } from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import { EIP712 } from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import { AnswerTree } from "./AnswerTree.sol";
import { Bls12381 } from "./Bls12381.sol";
import { Digests } from "./Digests.sol";
import { IAssetRegistry } from "./interfaces/IAssetRegistry.sol";
import { IComputeLedger } from "./interfaces/IComputeLedger.sol";
import { IParticipants } from "./interfaces/IParticipants.sol";
import { ISettlement } from "./interfaces/ISettlement.sol";
import { Phases } from "./Phases.sol";
import { Roles } from "./Roles.sol";
import { UnmaskMessage } from "./UnmaskMessage.sol";

/// @title ComputeLedger
/// @dev Nobody administers this contract: no role, no pause, no upgrade. Deadlines are block numbers and inclusive.
contract ComputeLedger is IComputeLedger, EIP712 {
    bytes32 private constant REQUEST_TYPEHASH = keccak256(
        "Request(address buyer,address broker,bytes32 listing,bytes32 planHash,bytes32 keyX,uint8 keyParity,"
        "uint64 rho,uint128 price,uint16 holders,uint16 minHolders,uint16 colluders,uint16 dropouts,"
        "uint64 approveBy,uint64 shareBy,uint64 contributeBy,uint64 answerBy,uint256 nonce)"
    );
    bytes32 private constant ACCEPT_TYPEHASH = keccak256("Accept(bytes32 requestId)");

    uint8 private constant NONE = 0;
    uint8 private constant OPEN = 1;
    uint8 private constant SHARING = 2;
    uint8 private constant CONTRIBUTING = 3;
    uint8 private constant SEALED = 4;
    uint8 private constant ANSWERED = 5;
    uint8 private constant SETTLED = 6;
    uint8 private constant CLOSED = 7;
    uint8 private constant WITHHELD = 8;

    uint8 private constant STAGE_APPROVED = 1;
    uint8 private constant STAGE_SHARED = 2;
    uint8 private constant STAGE_CONTRIBUTED = 3;
    uint8 private constant STAGE_UNMASKED = 4;

    IParticipants public immutable participants;
    IAssetRegistry public immutable assets;
    ISettlement public immutable settlement;
    uint64 public immutable window;

    mapping(bytes32 id => RequestStatus) private _status;
    mapping(bytes32 id => mapping(address holder => bytes32)) private _members;
    mapping(bytes32 id => Bls12381.PackedPoint) private _sums;
    mapping(bytes32 id => bytes32) private _answerRoots;
    mapping(bytes32 id => Line) private _lines;
    mapping(address buyer => mapping(uint256 word => uint256)) private _nonces;

    constructor(IParticipants participants_, IAssetRegistry assets_, ISettlement settlement_, uint64 window_)
        EIP712("Shuyao", "1")
    {
        if (window_ == 0) revert ComputeLedgerWindowZero();
        if (settlement_.ledger() != address(this)) {
            revert ComputeLedgerSettlementMismatch(address(this), settlement_.ledger());
        }
        Bls12381.requirePrecompiles();
        participants = participants_;
        assets = assets_;
        settlement = settlement_;
        window = window_;
    }

    // ---------------------------------------------------------------- budget lines

    /// @inheritdoc IComputeLedger
    function openLine(bytes32 keySpaceHash, uint64 total) external returns (bytes32 id) {
        if (total == 0) revert ComputeLedgerLineEmpty();
        participants.requireActive(msg.sender, Roles.HOLDER);
        id = assets.lineId(msg.sender, keySpaceHash);
        if (_lines[id].total != 0) revert ComputeLedgerLineExists(id);
        _lines[id].total = total;
        emit LineOpened(id, msg.sender, keySpaceHash, total);
    }

    // ---------------------------------------------------------------- before the seal

    /// @inheritdoc IComputeLedger
    function open(Request calldata request, bytes calldata signature) external {
        _requireCaller(request.broker);
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, NONE);
        _requireSound(id, request);
        _requireSigner(id, id, signature, request.buyer);
        _useNonce(request.buyer, request.nonce);
        (s.state, s.since) = (OPEN, uint64(block.number));
        participants.requireBrokerage(request.buyer, request.broker);
        settlement.lock(id, request.buyer, request.broker, request.price);
        emit Opened(id, request, signature);
    }

    /// @inheritdoc IComputeLedger
    function approve(Request calldata request, bytes32 asset, SessionKeys calldata keys) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, OPEN);
        _requireNotAfter(id, request.approveBy);
        _requireStage(id, msg.sender, 0);
        _requireParity(keys.eParity);
        (uint32 version, bytes32 lineId) = _enlist(id, request, asset, s);
        bytes32 keysHash = Digests.keysHash(asset, version, keys);
        _members[id][msg.sender] = Digests.member(STAGE_APPROVED, lineId, keysHash, 0);
        emit Approved(
            id,
            msg.sender,
            asset,
            version,
            lineId,
            keys.maskKey,
            keys.shareKey,
            keys.eX,
            keys.eParity,
            keys.noiseCommitment
        );
    }

    /// @inheritdoc IComputeLedger
    function share(
        Request calldata request,
        bytes32 lineId,
        bytes32 keysHash,
        bytes32 bundleHash,
        bytes32 seedHash,
        bytes32 commitmentHash
    ) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, OPEN, SHARING);
        (uint16 approved, uint16 shared) = (s.approved, s.shared);
        if (!Phases.isRosterClosed(request, approved)) revert ComputeLedgerTooEarly(id);
        _requireNotAfter(id, request.shareBy);
        if (approved != request.holders && !Phases.parameters(request, approved).valid) {
            revert ComputeLedgerParametersImpossible(id, approved);
        }
        _requireMember(id, msg.sender, STAGE_APPROVED, Digests.member(STAGE_APPROVED, lineId, keysHash, 0));
        bytes32 detail = Digests.shared(bundleHash, seedHash, commitmentHash);
        _members[id][msg.sender] = Digests.member(STAGE_SHARED, lineId, keysHash, detail);
        shared += 1;
        (s.state, s.shared) = (SHARING, shared);
        emit Shared(id, msg.sender, bundleHash, seedHash, commitmentHash);
    }

    /// @inheritdoc IComputeLedger
    function contribute(
        Request calldata request,
        Contribution calldata contribution,
        bytes calldata commitment,
        bytes calldata receipt
    ) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, SHARING, CONTRIBUTING);
        (uint16 approved, uint16 shared, uint16 contributed) = (s.approved, s.shared, s.contributed);
        if (!Phases.isSharingClosed(request, approved, shared)) revert ComputeLedgerTooEarly(id);
        _requireFloor(id, request, shared, approved);
        _requireNotAfter(id, request.contributeBy);
        bytes32 commitmentHash = Digests.commitment(id, msg.sender, commitment);
        _requireShared(id, contribution, commitmentHash);
        bytes32 inputHash = _requireReceipt(id, request.broker, contribution, receipt);
        bytes32 detail = Digests.contributed(commitmentHash, inputHash);
        _members[id][msg.sender] =
            Digests.member(STAGE_CONTRIBUTED, contribution.line, contribution.keysHash, detail);
        contributed += 1;
        (s.state, s.contributed) = (CONTRIBUTING, contributed);
        _addCommitment(id, commitment);
        emit Contributed(id, msg.sender, commitment, inputHash);
    }

    /// @inheritdoc IComputeLedger
    function seal(Request calldata request, Member[] calldata members) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, CONTRIBUTING);
        (uint16 approved, uint16 shared, uint16 survivors) = (s.approved, s.shared, s.contributed);
        if (!Phases.isContributingClosed(request, shared, survivors)) revert ComputeLedgerTooEarly(id);
        _requireFloor(id, request, survivors, approved);
        _requireNotAfter(id, request.answerBy);
        _settleLines(id, request.rho, members, approved);
        (s.state, s.since) = (SEALED, uint64(block.number));
        emit Sealed(id, survivors, commitmentSum(id));
    }

    /// @inheritdoc IComputeLedger
    function close(Request calldata request, Member[] calldata members) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _status[id];
        if (s.state < OPEN || s.state > CONTRIBUTING) revert ComputeLedgerStateWrong(id, s.state);
        uint8 reason = Phases.closingReason(request, s);
        if (reason == 0) revert ComputeLedgerNotClosable(id);
        _releaseLines(id, request.rho, members, s.approved);
        s.state = CLOSED;
        settlement.refund(id, request.buyer, request.broker);
        emit Closed(id, reason);
    }

    // ---------------------------------------------------------------- after the seal

    /// @inheritdoc IComputeLedger
    function postUnmask(Request calldata request, Member calldata m, bytes calldata payload) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, SEALED);
        _requireNotAfter(id, uint256(request.answerBy) + (window + 1) / 2);
        _requireCaller(m.holder);
        _requireMember(
            id, m.holder, STAGE_CONTRIBUTED, Digests.member(STAGE_CONTRIBUTED, m.line, m.keysHash, m.detail)
        );
        if (!UnmaskMessage.isWellFormed(payload, s.approved, s.shared, s.contributed)) {
            revert ComputeLedgerUnmaskMalformed(id, m.holder);
        }
        _members[id][m.holder] = Digests.member(STAGE_UNMASKED, m.line, m.keysHash, m.detail);
        s.unmasked += 1;
        emit UnmaskPosted(id, m.holder, payload);
    }

    /// @inheritdoc IComputeLedger
    function answer(Request calldata request, bytes32 root) external {
        _requireCaller(request.broker);
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, SEALED);
        if (block.number > request.answerBy) {
            bool isPosted = s.unmasked >= Phases.parameters(request, s.approved).threshold;
            _requireNotAfter(id, uint256(request.answerBy) + (isPosted ? window : 0));
        }
        (s.state, s.since) = (ANSWERED, uint64(block.number));
        _answerRoots[id] = root;
        emit Answered(id, root);
    }

    /// @inheritdoc IComputeLedger
    function demandChunk(Request calldata request, uint32 chunk) external {
        _requireCaller(request.buyer);
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, ANSWERED);
        if (s.demandedAt != 0) revert ComputeLedgerDemandOpen(id, s.demandedChunk);
        _requireNotAfter(id, uint256(s.since) + window);
        if (chunk < s.demandedChunk || chunk >= AnswerTree.MAX_CHUNKS) {
            revert ComputeLedgerChunkNotDemandable(id, chunk, s.demandedChunk, AnswerTree.MAX_CHUNKS);
        }
        s.demandedChunk = chunk;
        s.demandedAt = uint64(block.number);
        emit ChunkDemanded(id, chunk);
    }

    /// @inheritdoc IComputeLedger
    function postChunk(
        Request calldata request,
        Member[] calldata members,
        uint32 cells,
        uint32 chunk,
        bytes calldata data,
        bytes32[] calldata path
    ) external {
        bytes32 id = _meetDemand(request, chunk);
        if (chunk >= AnswerTree.chunks(cells) || data.length != AnswerTree.chunkLength(cells, chunk)) {
            revert ComputeLedgerChunkMalformed(id, chunk, data.length);
        }
        bytes32 sessionId = _session(id, request, members);
        bytes32 treeRoot = AnswerTree.rootFromPath(sessionId, cells, chunk, data, path);
        _requireRoot(id, AnswerTree.root(sessionId, cells, treeRoot));
        emit ChunkPosted(id, chunk, data);
    }

    /// @inheritdoc IComputeLedger
    function refuteDemand(Request calldata request, Member[] calldata members, uint32 cells, bytes32 treeRoot)
        external
    {
        uint32 chunk = _status[_id(request)].demandedChunk;
        bytes32 id = _meetDemand(request, chunk);
        if (chunk < AnswerTree.chunks(cells)) revert ComputeLedgerDemandFounded(id, chunk, cells);
        _requireRoot(id, AnswerTree.root(_session(id, request, members), cells, treeRoot));
        emit DemandRefuted(id, chunk, cells);
    }

    /// @inheritdoc IComputeLedger
    function release(Request calldata request, Member[] calldata members, bytes calldata acceptSignature)
        external
    {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, ANSWERED);
        if (acceptSignature.length != 0) {
            _requireSigner(id, acceptDigest(id), acceptSignature, request.buyer);
        } else if (s.demandedAt != 0) {
            revert ComputeLedgerDemandOpen(id, s.demandedChunk);
        } else if (block.number <= uint256(s.since) + window) {
            revert ComputeLedgerTooEarly(id);
        }
        s.state = SETTLED;
        settlement.release(id, request.broker, _survivors(id, members, s.contributed));
        emit Settled(id);
    }

    /// @inheritdoc IComputeLedger
    function withhold(Request calldata request, Member[] calldata members) external {
        bytes32 id = _id(request);
        RequestStatus storage s = _requireState(id, SEALED, ANSWERED);
        bool isAnswered = s.state == ANSWERED;
        if (isAnswered && s.demandedAt == 0) revert ComputeLedgerTooEarly(id);
        uint256 deadline = uint256(isAnswered ? s.demandedAt : request.answerBy) + window;
        if (block.number <= deadline) revert ComputeLedgerTooEarly(id);
        if (isAnswered || s.unmasked >= Phases.parameters(request, s.approved).threshold) {
            s.state = WITHHELD;
            address[] memory survivors = _survivors(id, members, s.contributed);
            settlement.compensate(id, request.buyer, request.broker, survivors);
            emit Withheld(id);
        } else {
            s.state = CLOSED;
            settlement.refund(id, request.buyer, request.broker);
            emit Closed(id, Phases.REASON_UNANSWERED);
        }
    }

    // ---------------------------------------------------------------- views

    /// @inheritdoc IComputeLedger
    function requestId(Request calldata request) external view returns (bytes32) {
        return _id(request);
    }

    /// @inheritdoc IComputeLedger
    function acceptDigest(bytes32 id) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ACCEPT_TYPEHASH, id)));
    }

    /// @inheritdoc IComputeLedger
    function status(bytes32 id) external view returns (RequestStatus memory) {
        return _status[id];
    }

    /// @inheritdoc IComputeLedger
    function member(bytes32 id, address holder) external view returns (bytes32) {
        return _members[id][holder];
    }

    /// @inheritdoc IComputeLedger
    function line(bytes32 id) external view returns (Line memory) {
        return _lines[id];
    }

    /// @inheritdoc IComputeLedger
    function answerRoot(bytes32 id) external view returns (bytes32) {
        return _answerRoots[id];
    }

    /// @inheritdoc IComputeLedger
    function commitmentSum(bytes32 id) public view returns (bytes memory) {
        return Bls12381.encode(Bls12381.unpack(_sums[id]));
    }

    /// @inheritdoc IComputeLedger
    function nonceUsed(address buyer, uint256 nonce) external view returns (bool) {
        return _nonces[buyer][nonce >> 8] & (1 << (nonce & 0xff)) != 0;
    }

    /// @inheritdoc IComputeLedger
    function parameters(Request calldata request, uint16 n) external pure returns (Parameters memory) {
        return Phases.parameters(request, n);
    }

    /// @inheritdoc IComputeLedger
    function session(Request calldata request, Member[] calldata members) external view returns (bytes32) {
        return _session(_id(request), request, members);
    }

    // ---------------------------------------------------------------- the request

    /// @dev The words are hashed as they came: a request with dirty words has another id, and `open` refuses it when it logs them.
    function _id(Request calldata request) private view returns (bytes32) {
        bytes32 typeHash = REQUEST_TYPEHASH;
        bytes32 structHash;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typeHash)
            calldatacopy(add(free, 0x20), request, 0x220)
            structHash := keccak256(free, 0x240)
        }
        return _hashTypedDataV4(structHash);
    }

    /// @dev Refuses what could never be answered, so that neither escrow nor bond is locked for it.
    function _requireSound(bytes32 id, Request calldata request) private view {
        if (
            block.number >= request.approveBy || request.approveBy >= request.shareBy
                || request.shareBy >= request.contributeBy || request.contributeBy >= request.answerBy
        ) revert ComputeLedgerDeadlinesWrong(id);
        _requireParity(request.keyParity);
        if (request.rho == 0 || !Phases.parameters(request, request.holders).valid) {
            revert ComputeLedgerRequestInvalid(id);
        }
    }

    function _useNonce(address buyer, uint256 nonce) private {
        uint256 bit = 1 << (nonce & 0xff);
        uint256 word = _nonces[buyer][nonce >> 8];
        if (word & bit != 0) revert ComputeLedgerNonceUsed(buyer, nonce);
        _nonces[buyer][nonce >> 8] = word | bit;
    }

    // ---------------------------------------------------------------- members

    function _requireStage(bytes32 id, address holder, uint8 expected) private view returns (bytes32 digest) {
        digest = _members[id][holder];
        if (Digests.stageOf(digest) != expected) {
            revert ComputeLedgerStageWrong(id, holder, Digests.stageOf(digest));
        }
    }

    function _requireMember(bytes32 id, address holder, uint8 stage, bytes32 digest) private view {
        if (_requireStage(id, holder, stage) != digest) revert ComputeLedgerMemberWrong(id, holder);
    }

    /// @dev The caller shared, with this bundle, seed and commitment: the commitment was fixed before any other was seen.
    function _requireShared(bytes32 id, Contribution calldata c, bytes32 commitmentHash) private view {
        bytes32 detail = Digests.shared(c.bundleHash, c.seedHash, commitmentHash);
        _requireMember(id, msg.sender, STAGE_SHARED, Digests.member(STAGE_SHARED, c.line, c.keysHash, detail));
    }

    /// @dev Checks the openings of a list of members in strictly ascending order, and returns each one's stage.
    function _requireMembers(bytes32 id, Member[] calldata members)
        private
        view
        returns (uint8[] memory stages)
    {
        stages = new uint8[](members.length);
        address previous = address(0);
        for (uint256 i = 0; i < members.length; ++i) {
            Member calldata m = members[i];
            if (m.holder <= previous) revert ComputeLedgerMembersUnsorted(id, m.holder);
            previous = m.holder;
            bytes32 digest = _members[id][m.holder];
            uint8 stage = Digests.stageOf(digest);
            if (digest != Digests.member(stage, m.line, m.keysHash, m.detail)) {
                revert ComputeLedgerMemberWrong(id, m.holder);
            }
            stages[i] = stage;
        }
    }

    /// @dev The same for all who approved.
    function _requireRoster(bytes32 id, Member[] calldata members, uint256 approved)
        private
        view
        returns (uint8[] memory)
    {
        if (members.length != approved) {
            revert ComputeLedgerMembersIncomplete(id, members.length, approved);
        }
        return _requireMembers(id, members);
    }

    /// @dev The accounts of all survivors, from a list in which all of them are.
    function _survivors(bytes32 id, Member[] calldata members, uint256 contributed)
        private
        view
        returns (address[] memory survivors)
    {
        uint8[] memory stages = _requireMembers(id, members);
        survivors = new address[](contributed);
        uint256 count = 0;
        for (uint256 i = 0; i < members.length; ++i) {
            if (stages[i] >= STAGE_CONTRIBUTED) survivors[count++] = members[i].holder;
        }
        if (count != contributed) revert ComputeLedgerMembersIncomplete(id, count, contributed);
    }

    /// @dev docs/protocol.md §3.
    function _session(bytes32 id, Request calldata request, Member[] calldata members)
        private
        view
        returns (bytes32)
    {
        _requireRoster(id, members, _status[id].approved);
        bytes32 roster = 0;
        for (uint256 i = 0; i < members.length; ++i) {
            roster = Digests.rosterStep(roster, members[i]);
        }
        return Digests.session(id, request.planHash, members.length, roster);
    }

    // ---------------------------------------------------------------- budget

    /// @dev Counts the caller in, with an asset that is its own and that the broker may list, and reserves its budget.
    function _enlist(bytes32 id, Request calldata request, bytes32 asset, RequestStatus storage s)
        private
        returns (uint32 version, bytes32 lineId)
    {
        (uint16 approved, uint64 openedAt) = (s.approved, s.since);
        if (approved == request.holders) revert ComputeLedgerRosterFull(id, approved);
        s.approved = approved + 1;
        participants.requireIndependentHolder(msg.sender, request.buyer, request.broker, openedAt);
        (version, lineId) = assets.requireEntrusted(asset, request.listing, msg.sender, request.broker);
        _reserve(lineId, request.rho);
    }

    function _reserve(bytes32 lineId, uint64 rho) private {
        Line storage l = _lines[lineId];
        uint256 available = uint256(l.total) - l.reserved - l.spent;
        if (rho > available) revert ComputeLedgerBudgetExceeded(lineId, rho, available);
        l.reserved += rho;
    }

    /// @dev At the seal: the survivors' reservations become charges, the others are released.
    function _settleLines(bytes32 id, uint64 rho, Member[] calldata members, uint256 approved) private {
        uint8[] memory stages = _requireRoster(id, members, approved);
        for (uint256 i = 0; i < members.length; ++i) {
            Line storage l = _lines[members[i].line];
            (uint64 reserved, uint64 spent) = (l.reserved, l.spent);
            l.reserved = reserved - rho;
            l.spent = stages[i] == STAGE_CONTRIBUTED ? spent + rho : spent;
        }
    }

    /// @dev At a close before the seal: all reservations are released.
    function _releaseLines(bytes32 id, uint64 rho, Member[] calldata members, uint256 approved) private {
        _requireRoster(id, members, approved);
        for (uint256 i = 0; i < members.length; ++i) {
            _lines[members[i].line].reserved -= rho;
        }
    }

    // ---------------------------------------------------------------- commitments, messages, answer

    function _addCommitment(bytes32 id, bytes calldata commitment) private {
        Bls12381.Point memory point = Bls12381.requireInSubgroup(commitment);
        _sums[id] = Bls12381.pack(Bls12381.add(Bls12381.unpack(_sums[id]), point));
    }

    /// @dev The broker signed for the caller's masked input, and for no other kind of message.
    function _requireReceipt(bytes32 id, address broker, Contribution calldata c, bytes calldata receipt)
        private
        view
        returns (bytes32 inputHash)
    {
        inputHash = Digests.maskedInput(c.session, c.sender, c.payloadHash);
        bytes32 digest = Digests.receipt(id, msg.sender, inputHash);
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, receipt);
        if (recovered == address(0) || recovered != broker) {
            revert ComputeLedgerReceiptWrong(id, msg.sender, recovered);
        }
    }

    /// @dev The broker answers the open demand, for that chunk and in time; the window starts again.
    function _meetDemand(Request calldata request, uint32 chunk) private returns (bytes32 id) {
        _requireCaller(request.broker);
        id = _id(request);
        RequestStatus storage s = _requireState(id, ANSWERED);
        if (s.demandedAt == 0 || s.demandedChunk != chunk) revert ComputeLedgerDemandMissing(id, chunk);
        _requireNotAfter(id, uint256(s.demandedAt) + window);
        s.demandedAt = 0;
        s.demandedChunk = chunk + 1;
        s.since = uint64(block.number);
    }

    function _requireRoot(bytes32 id, bytes32 root) private view {
        if (root != _answerRoots[id]) revert ComputeLedgerAnswerRootWrong(id, _answerRoots[id], root);
    }

    // ---------------------------------------------------------------- who and when

    function _requireCaller(address expected) private view {
        if (msg.sender != expected) revert ComputeLedgerCallerWrong(msg.sender, expected);
    }

    function _requireState(bytes32 id, uint8 expected) private view returns (RequestStatus storage) {
        return _requireState(id, expected, expected);
    }

    function _requireState(bytes32 id, uint8 one, uint8 other)
        private
        view
        returns (RequestStatus storage s)
    {
        s = _status[id];
        uint8 state = s.state;
        if (state != one && state != other) revert ComputeLedgerStateWrong(id, state);
    }

    function _requireNotAfter(bytes32 id, uint256 deadline) private view {
        if (block.number > deadline) revert ComputeLedgerTooLate(id, deadline);
    }

    /// @dev The whole roster always meets the floor: the parameters were possible when sharing began.
    function _requireFloor(bytes32 id, Request calldata request, uint16 count, uint16 approved) private pure {
        if (count == approved) return;
        uint16 floor = Phases.parameters(request, approved).floor;
        if (count < floor) revert ComputeLedgerBelowFloor(id, count, floor);
    }

    function _requireParity(uint8 parity) private pure {
        if (parity != 2 && parity != 3) revert ComputeLedgerKeyInvalid(parity);
    }

    function _requireSigner(bytes32 id, bytes32 digest, bytes calldata signature, address expected)
        private
        pure
    {
        (address recovered,,) = ECDSA.tryRecoverCalldata(digest, signature);
        if (recovered == address(0) || recovered != expected) {
            revert ComputeLedgerSignatureWrong(id, recovered, expected);
        }
    }
}
