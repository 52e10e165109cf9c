// SPDX-License-Identifier: UNLICENSED
pragma solidity ^0.8.30;

import { IComputeLedger } from "../src/interfaces/IComputeLedger.sol";
import { Fixture } from "./Fixture.sol";

/// @title Every action of everybody, at random, in any order; what fails is ignored, what succeeds is judged.
contract Handler is Fixture {
    uint256 private constant IN_FLIGHT = 3;
    uint8 private constant NONE = 0;

    IComputeLedger.Request[] internal requests;
    mapping(bytes32 id => bool) public wasSealed;
    /// @notice A state change that the action which made it must not make: action, from, to. Zero if there was none.
    bytes32 public violation;
    mapping(uint8 state => uint256) public reached;

    constructor() {
        deploy();
    }

    function count() external view returns (uint256) {
        return requests.length;
    }

    function requestAt(uint256 k) external view returns (IComputeLedger.Request memory) {
        return requests[k];
    }

    function holderAt(uint256 i) external view returns (address) {
        return holders[i];
    }

    function contracts() external view returns (address, address) {
        return (address(ledger), address(settlement));
    }

    /// @dev Those who can ever have credits.
    function accounts() external view returns (address[] memory list) {
        list = new address[](HOLDERS + 4);
        for (uint256 i = 0; i < HOLDERS; ++i) {
            list[i] = holders[i];
        }
        list[HOLDERS] = buyer;
        list[HOLDERS + 1] = broker;
        list[HOLDERS + 2] = platform;
        list[HOLDERS + 3] = address(settlement);
    }

    function doOpen(uint256 raw) external {
        uint256 seed = _mix(raw);
        if (_isBusy() && seed >> 250 != 0) return;
        IComputeLedger.Request memory r = newRequest(uint16(1 + seed % 3));
        r.price = uint128(seed >> 8) % 3_000_000;
        r.rho = uint64(1 + (seed >> 136) % 300_000);
        r.dropouts = uint16(seed >> 200) % 2;
        if (_act("open", r, broker, openCall(r, BUYER_KEY))) requests.push(r);
    }

    function doApprove(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r, uint256 i) = _pick(seed);
        _act("approve", r, holders[i], approveCall(r, i));
    }

    function doShare(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r, uint256 i) = _pick(seed);
        _act("share", r, holders[i], shareCall(r, i));
    }

    function doContribute(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r, uint256 i) = _pick(seed);
        _act("contribute", r, holders[i], contributeCall(r, i));
    }

    /// @dev All who can approve, share or contribute do, or the request's next honest step is made: else long paths are too rare.
    function doNext(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        for (uint256 k = 0; k <= (seed >> 200) % 3; ++k) {
            _next(r);
        }
    }

    function doSeal(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        _seal(r);
    }

    function doUnmask(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        for (uint256 i = 0; i < HOLDERS; ++i) {
            if (seed >> (100 + i) & 1 == 1) _act("unmask", r, holders[i], unmaskCall(r, i));
        }
    }

    function doAnswer(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        _act("answer", r, broker, answerCall(r, bytes32(seed)));
    }

    function doDemand(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        _act("demand", r, buyer, demandCall(r, uint32((seed >> 64) % 3)));
    }

    function doRelease(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        bytes memory data = seed >> 255 == 1 ? acceptCall(r, BUYER_KEY) : releaseCall(r);
        _act("release", r, stranger, data);
    }

    function doClose(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        _act("close", r, stranger, closeCall(r));
    }

    /// @dev Of the newest requests, one that is sealed or answered, if there is one.
    function doWithhold(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r,) = _pick(seed);
        for (uint256 k = 0; k < IN_FLIGHT && (stateOf(r) < 4 || stateOf(r) > 5); ++k) {
            (r,) = _pick(k);
        }
        if (seed >> 254 != 0) _provoke(r, seed >> 8);
        _act("withhold", r, stranger, withholdCall(r));
    }

    /// @dev The right call by the wrong party never succeeds.
    function doImpostor(uint256 raw) external {
        uint256 seed = _mix(raw);
        (IComputeLedger.Request memory r, uint256 i) = _pick(seed);
        bytes[5] memory calls = [
            approveCall(r, i),
            shareCall(r, i),
            contributeCall(r, i),
            unmaskCall(r, i),
            answerCall(r, bytes32(seed))
        ];
        address impostor = (seed >> 70) % 2 == 0 ? stranger : buyer;
        if (_act("none", r, impostor, calls[(seed >> 80) % 5])) violation = "impostor";
    }

    function doWait(uint256 raw) external {
        uint256 seed = _mix(raw);
        vm.roll(block.number + 1 + (seed >> 8) % (seed % 8 == 0 ? 40 : 3));
    }

    function doBond(uint256 raw) external {
        uint256 seed = _mix(raw);
        uint256 amount = (seed >> 1) % 2_000_000;
        bytes memory data = seed & 1 == 0
            ? abi.encodeCall(settlement.postBond, (amount))
            : abi.encodeCall(settlement.withdrawBond, (amount));
        attempt(broker, address(settlement), data);
    }

    function doCredit(uint256 raw) external {
        uint256 seed = _mix(raw);
        address[3] memory parties = [buyer, broker, holders[(seed >> 2) % HOLDERS]];
        uint256 amount = (seed >> 8) % 1_000_000;
        address from = parties[seed % 3];
        bytes memory data = seed >> 255 == 1
            ? abi.encodeCall(settlement.mint, (from, amount))
            : abi.encodeCall(settlement.transfer, (parties[(seed + 1) % 3], amount));
        attempt(seed >> 255 == 1 ? bank : from, address(settlement), data);
    }

    /// @dev Whether the newest requests are all still going on.
    function _isBusy() private view returns (bool) {
        uint256 n = requests.length;
        for (uint256 k = n < IN_FLIGHT ? 0 : n - IN_FLIGHT; k < n; ++k) {
            if (stateOf(requests[k]) > 5) return false;
        }
        return n >= IN_FLIGHT;
    }

    function _next(IComputeLedger.Request memory r) private {
        uint8 state = stateOf(r);
        if (state == 3) _seal(r);
        if (state == 4) _act("answer", r, broker, answerCall(r, keccak256("answer")));
        if (state == 5) _act("release", r, stranger, acceptCall(r, BUYER_KEY));
        for (uint256 i = 0; i < HOLDERS && state <= 3; ++i) {
            uint8 stage = stageOf(idOf(r), holders[i]);
            if (stage == 0 && state == 1) _act("approve", r, holders[i], approveCall(r, i));
            if (stage == 1) _act("share", r, holders[i], shareCall(r, i));
            if (stage == 2) _act("contribute", r, holders[i], contributeCall(r, i));
        }
    }

    /// @dev Makes a sealed or answered request one that its broker withholds, or that nobody unmasked.
    function _provoke(IComputeLedger.Request memory r, uint256 seed) private {
        uint8 state = stateOf(r);
        if (state == 5) _act("demand", r, buyer, demandCall(r, 2));
        for (uint256 i = 0; i < HOLDERS && state == 4 && seed % 2 == 0; ++i) {
            _act("unmask", r, holders[i], unmaskCall(r, i));
        }
        uint256 deadline = (state == 4 ? r.answerBy : block.number) + WINDOW + 1;
        if (state >= 4 && state <= 5 && block.number < deadline) vm.roll(deadline);
    }

    function _seal(IComputeLedger.Request memory r) private {
        if (_act("seal", r, stranger, sealCall(r))) wasSealed[idOf(r)] = true;
    }

    /// @dev The fuzzer prefers small numbers and addresses; here every bit matters.
    function _mix(uint256 raw) private pure returns (uint256) {
        return uint256(keccak256(abi.encode(raw)));
    }

    function _pick(uint256 seed) private view returns (IComputeLedger.Request memory r, uint256 i) {
        uint256 n = requests.length;
        uint256 recent = n < IN_FLIGHT ? n : IN_FLIGHT;
        if (n != 0) r = requests[n - 1 - seed % recent];
        i = (seed >> 32) % HOLDERS;
    }

    function _act(bytes32 action, IComputeLedger.Request memory r, address from, bytes memory data)
        private
        returns (bool success)
    {
        uint8 before = stateOf(r);
        (success,) = attempt(from, address(ledger), data);
        uint8 after_ = stateOf(r);
        if (after_ != before) ++reached[after_];
        if (!_isLegal(action, before, after_, success)) {
            violation = bytes32(abi.encodePacked(bytes16(action), before, after_));
        }
    }

    function _isLegal(bytes32 action, uint8 from, uint8 to, bool success) private pure returns (bool) {
        if (!success) return from == to;
        if (action == "open") return from == 0 && to == 1;
        if (action == "approve") return from == 1 && to == 1;
        if (action == "share") return (from == 1 || from == 2) && to == 2;
        if (action == "contribute") return (from == 2 || from == 3) && to == 3;
        if (action == "seal") return from == 3 && to == 4;
        if (action == "unmask") return from == 4 && to == 4;
        if (action == "answer") return from == 4 && to == 5;
        if (action == "demand") return from == 5 && to == 5;
        if (action == "release") return from == 5 && to == 6;
        if (action == "close") return from >= 1 && from <= 3 && to == 7;
        if (action == "withhold") return (from == 4 && (to == 7 || to == 8)) || (from == 5 && to == 8);
        return false;
    }
}
