// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

/// @title The life of a request: open, approve, share, contribute, seal, answer, release.
/// @notice Hashes, encodings and states are those of docs/protocol.md. What never changes about a request is not stored: each call
/// carries the request, and its id, the EIP-712 digest, says whether it is the one that the buyer signed. What is stored of
/// a member is one word: its stage, and a digest that later calls open again.
interface IComputeLedger {
    /// @notice What the buyer signs; docs/protocol.md §2.
    struct Request {
        address buyer;
        address broker;
        bytes32 listing;
        bytes32 planHash;
        bytes32 keyX;
        uint8 keyParity;
        uint64 rho;
        uint128 price;
        uint16 holders;
        uint16 minHolders;
        uint16 colluders;
        uint16 dropouts;
        uint64 approveBy;
        uint64 shareBy;
        uint64 contributeBy;
        uint64 answerBy;
        uint256 nonce;
    }

    /// @notice A holder's keys for one session: two X25519 keys, one compressed secp256k1 key, and `H("noise-seed"; seed)`, by which the
    /// holder fixes the seed of its noise before it knows the session.
    struct SessionKeys {
        bytes32 maskKey;
        bytes32 shareKey;
        bytes32 eX;
        uint8 eParity;
        bytes32 noiseCommitment;
    }

    /// @notice What a holder said before, and the frame that carried its masked input.
    /// @dev The input's `messageHash` is recomputed from `session`, `sender` and `payloadHash` with kind 2, so that no receipt for
    /// another kind of message can stand in for it.
    struct Contribution {
        bytes32 line;
        bytes32 keysHash;
        bytes32 bundleHash;
        bytes32 seedHash;
        bytes32 session;
        uint16 sender;
        bytes32 payloadHash;
    }

    /// @notice The opening of a member's digest.
    /// @param detail 0 when approved; `H("shared"; …)` when shared; `H("contributed"; …)` when contributed or unmasked
    struct Member {
        address holder;
        bytes32 line;
        bytes32 keysHash;
        bytes32 detail;
    }

    /// @notice Everything about a request that changes; one storage slot.
    /// @param state 0 none, 1 open, 2 sharing, 3 contributing, 4 sealed, 5 answered, 6 settled, 7 closed, 8 withheld,
    /// 9 disputed (reserved)
    /// @param since block of the opening, then of the seal, then of the answer or of the last chunk posted: the running window counts from it
    /// @param demandedChunk the chunk on demand while `demandedAt` is not 0; else the lowest that may still be demanded
    /// @param demandedAt block of the demand that waits for its chunk, 0 if none does
    struct RequestStatus {
        uint8 state;
        uint16 approved;
        uint16 shared;
        uint16 contributed;
        uint16 unmasked;
        uint64 since;
        uint32 demandedChunk;
        uint64 demandedAt;
    }

    /// @notice A budget line in micro-ρ; `reserved + spent <= total` always. A line that was not opened has total 0.
    struct Line {
        uint64 total;
        uint64 reserved;
        uint64 spent;
    }

    /// @notice What follows from the number of approvals; docs/protocol.md §3. All but `valid` are 0 when it is false.
    struct Parameters {
        bool valid;
        uint16 threshold;
        uint16 dropouts;
        uint16 floor;
        uint16 divisor;
    }

    event LineOpened(bytes32 indexed line, address indexed holder, bytes32 keySpaceHash, uint64 total);
    event Opened(bytes32 indexed id, Request request, bytes signature);
    event Approved(
        bytes32 indexed id,
        address indexed holder,
        bytes32 asset,
        uint32 assetVersion,
        bytes32 line,
        bytes32 maskKey,
        bytes32 shareKey,
        bytes32 eX,
        uint8 eParity,
        bytes32 noiseCommitment
    );
    event Shared(
        bytes32 indexed id,
        address indexed holder,
        bytes32 bundleHash,
        bytes32 seedHash,
        bytes32 commitmentHash
    );
    event Contributed(bytes32 indexed id, address indexed holder, bytes commitment, bytes32 inputHash);
    event Sealed(bytes32 indexed id, uint16 survivors, bytes commitmentSum);
    event UnmaskPosted(bytes32 indexed id, address indexed holder, bytes payload);
    event Answered(bytes32 indexed id, bytes32 answerRoot);
    event ChunkDemanded(bytes32 indexed id, uint32 chunk);
    event ChunkPosted(bytes32 indexed id, uint32 chunk, bytes data);
    /// @notice The demanded chunk does not exist: the answer has only `cells` cells.
    event DemandRefuted(bytes32 indexed id, uint32 chunk, uint32 cells);
    event Settled(bytes32 indexed id);
    /// @param reason 1 roster too small or its parameters impossible, 2 too few shared, 3 too few contributed, 4 not sealed by `answerBy`,
    /// 5 sealed, but neither answered nor shown to be withheld
    event Closed(bytes32 indexed id, uint8 reason);
    event Withheld(bytes32 indexed id);

    /// @notice The settlement contract names another ledger.
    error ComputeLedgerSettlementMismatch(address expected, address actual);
    error ComputeLedgerWindowZero();
    error ComputeLedgerCallerWrong(address caller, address expected);
    error ComputeLedgerStateWrong(bytes32 id, uint8 state);
    /// @notice The holder is not at the stage that the call needs: 0 none, 1 approved, 2 shared, 3 contributed, 4 unmasked.
    error ComputeLedgerStageWrong(bytes32 id, address holder, uint8 stage);
    error ComputeLedgerDeadlinesWrong(bytes32 id);
    /// @notice A field of the request can never be right: ρ 0, a key's parity, or parameters that no roster could meet.
    error ComputeLedgerRequestInvalid(bytes32 id);
    error ComputeLedgerNonceUsed(address buyer, uint256 nonce);
    error ComputeLedgerSignatureWrong(bytes32 id, address recovered, address expected);
    error ComputeLedgerReceiptWrong(bytes32 id, address holder, address recovered);
    error ComputeLedgerTooLate(bytes32 id, uint256 deadline);
    error ComputeLedgerTooEarly(bytes32 id);
    error ComputeLedgerRosterFull(bytes32 id, uint16 holders);
    error ComputeLedgerParametersImpossible(bytes32 id, uint16 approved);
    error ComputeLedgerBelowFloor(bytes32 id, uint16 count, uint16 floor);
    error ComputeLedgerKeyInvalid(uint8 parity);
    error ComputeLedgerLineExists(bytes32 line);
    error ComputeLedgerLineEmpty();
    error ComputeLedgerBudgetExceeded(bytes32 line, uint256 needed, uint256 available);
    /// @notice What the call says of the holder is not what the holder said before.
    error ComputeLedgerMemberWrong(bytes32 id, address holder);
    error ComputeLedgerMembersUnsorted(bytes32 id, address holder);
    error ComputeLedgerMembersIncomplete(bytes32 id, uint256 given, uint256 expected);
    error ComputeLedgerUnmaskMalformed(bytes32 id, address holder);
    error ComputeLedgerAnswerRootWrong(bytes32 id, bytes32 expected, bytes32 actual);
    error ComputeLedgerChunkNotDemandable(bytes32 id, uint32 chunk, uint32 lowest, uint32 limit);
    error ComputeLedgerDemandOpen(bytes32 id, uint32 chunk);
    error ComputeLedgerDemandMissing(bytes32 id, uint32 chunk);
    error ComputeLedgerChunkMalformed(bytes32 id, uint32 chunk, uint256 length);
    /// @notice The demanded chunk exists in an answer of that many cells.
    error ComputeLedgerDemandFounded(bytes32 id, uint32 chunk, uint32 cells);
    error ComputeLedgerNotClosable(bytes32 id);

    /// @notice Fixes, once, the whole budget of one of the caller's budget lines, in micro-ρ.
    function openLine(bytes32 keySpaceHash, uint64 total) external returns (bytes32 line);

    /// @notice Opens a request for the buyer who signed it; only its broker can. Locks the price, and as much of the broker's bond.
    function open(Request calldata request, bytes calldata signature) external;

    /// @notice The caller takes part with an asset; ρ is reserved on the asset's budget line. Until `approveBy`.
    function approve(Request calldata request, bytes32 asset, SessionKeys calldata keys) external;

    /// @notice The caller has passed on its shares and fixes its commitment. After the roster closed, until `shareBy`.
    function share(
        Request calldata request,
        bytes32 line,
        bytes32 keysHash,
        bytes32 bundleHash,
        bytes32 seedHash,
        bytes32 commitmentHash
    ) external;

    /// @notice The caller opens its commitment, for a masked input that the broker signed for. After sharing closed, until `contributeBy`.
    /// @param commitment a point of G1, 128 bytes as EIP-2537 has it; infinity is allowed
    /// @param receipt the broker's signature over `H("receipt"; id, holder, messageHash)`
    function contribute(
        Request calldata request,
        Contribution calldata contribution,
        bytes calldata commitment,
        bytes calldata receipt
    ) external;

    /// @notice Fixes the survivors; their reservations become charges, the others are released. By anyone, after contributing closed,
    /// until `answerBy`.
    /// @param members all who approved, ascending by address
    function seal(Request calldata request, Member[] calldata members) external;

    /// @notice A survivor that has no receipt for its unmask message, or sees no answer, publishes it: the broker can then not claim
    /// that it lacked it. Until half a window after `answerBy`. The shape is checked, the shares cannot be: a threshold of survivors
    /// that post wrong ones makes an honest broker lose its bond.
    function postUnmask(Request calldata request, Member calldata member, bytes calldata payload) external;

    /// @notice The broker fixes the answer, until `answerBy`; if the threshold of unmask messages is on the chain, until a window
    /// after it: nobody loses a bond over messages that were posted late.
    function answer(Request calldata request, bytes32 answerRoot) external;

    /// @notice The buyer has not received a chunk. One at a time, ascending, within the window; each chunk posted starts the window again.
    function demandChunk(Request calldata request, uint32 chunk) external;

    /// @notice The broker publishes the demanded chunk, within the window, with its path in the answer's tree.
    /// @param members all who approved, ascending: the session is recomputed from them
    /// @param cells number of cells of the answer
    function postChunk(
        Request calldata request,
        Member[] calldata members,
        uint32 cells,
        uint32 chunk,
        bytes calldata data,
        bytes32[] calldata path
    ) external;

    /// @notice The broker shows that the demanded chunk does not exist, within the window.
    function refuteDemand(Request calldata request, Member[] calldata members, uint32 cells, bytes32 treeRoot)
        external;

    /// @notice Pays broker and survivors: with the buyer's `Accept` at once, by anyone; with an empty signature after the window, if no
    /// demand waits.
    /// @param members the survivors, ascending; other members may be among them
    function release(Request calldata request, Member[] calldata members, bytes calldata acceptSignature)
        external;

    /// @notice Ends, by anyone, a request that can no longer be sealed: the buyer is refunded, the bond freed, reservations released.
    /// Nothing was unmasked, so nothing is charged.
    /// @param members all who approved, ascending
    function close(Request calldata request, Member[] calldata members) external;

    /// @notice Ends, by anyone, a request that was sealed and not answered, or whose demanded chunk did not come.
    /// @dev Not answered by a window after `answerBy`: if at least the threshold of survivors posted their unmask messages, the broker
    /// had what it needed and withheld: the buyer is paid from its bond and the survivors from the escrow. If not, the contract cannot
    /// tell a broker that withholds from holders that never unmasked; so nobody is blamed, the escrow goes back and nobody is paid
    /// (`Closed`, reason 5). Either way what was charged at the seal stays charged: budget once at risk is never refunded.
    /// @param members the survivors, ascending; other members may be among them
    function withhold(Request calldata request, Member[] calldata members) external;

    function requestId(Request calldata request) external view returns (bytes32);

    /// @notice What the buyer signs to accept an answer.
    function acceptDigest(bytes32 id) external view returns (bytes32);

    function status(bytes32 id) external view returns (RequestStatus memory);

    /// @notice A member's stage (top byte) and digest (the rest), 0 if it did not approve.
    function member(bytes32 id, address holder) external view returns (bytes32);

    function line(bytes32 id) external view returns (Line memory);

    function answerRoot(bytes32 id) external view returns (bytes32);

    /// @notice The sum of the commitments so far, 128 bytes; infinity, all zero, before the first.
    function commitmentSum(bytes32 id) external view returns (bytes memory);

    function nonceUsed(address buyer, uint256 nonce) external view returns (bool);

    function parameters(Request calldata request, uint16 n) external pure returns (Parameters memory);

    /// @notice The session id; reverts unless `members` are all who approved, ascending.
    function session(Request calldata request, Member[] calldata members) external view returns (bytes32);

    /// @notice The window, in blocks, after an answer and for each demand.
    function window() external view returns (uint64);
}
